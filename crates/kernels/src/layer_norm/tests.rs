use super::*;
use proptest::prelude::*;

fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 100.0 - 10.0).collect()
}

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

proptest! {
    #[test]
    fn forward_and_gradient_agree_with_f64(rows in 0usize..70, n in 1usize..140, has_all: bool, is_centered: bool, seed in 0usize..99) {
        let (x, dy) = (noise(rows * n, seed), noise(rows * n, seed + 1));
        let (scale, bias) = (noise(n, seed + 2), noise(n, seed + 3));
        let norm = LayerNorm { scale: has_all.then_some(&scale), bias: has_all.then_some(&bias), epsilon: 1e-2, is_centered };
        let gamma = |i: usize| if has_all { f64::from(scale[i]) } else { 1.0 };
        for kernel in supported() {
            let (mut mean, mut inv_std, mut out) = (vec![9.0; rows], vec![9.0; rows], vec![9.0; x.len()]);
            kernel.normalize(&Threads::new(2), &x, n, &norm, &mut mean, &mut inv_std, &mut out).unwrap();
            let saved = Saved { mean: &mean, inv_std: &inv_std };
            let (mut dx, mut dscale, mut dbias) = (dy.clone(), vec![9.0; n], vec![9.0; n]);
            let at = dx.as_mut_ptr();
            // SAFETY: equal lengths.
            unsafe { kernel.gradient_at(&Threads::new(2), at, &x, n, &norm, saved, at, [Some(&mut dscale), Some(&mut dbias)]).unwrap() };
            let (mut by_scale, mut by_bias) = (vec![0.0; n], vec![0.0; n]);
            for row in 0..rows {
                let of = |values: &[f32]| values[row * n..(row + 1) * n].iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
                let (x, dy) = (of(&x), of(&dy));
                let center = if is_centered { x.iter().sum::<f64>() / n as f64 } else { 0.0 };
                let inverse = 1.0 / (x.iter().map(|x| (x - center).powi(2)).sum::<f64>() / n as f64 + f64::from(norm.epsilon)).sqrt();
                let hats: Vec<f64> = x.iter().map(|x| (x - center) * inverse).collect();
                let sum = dy.iter().enumerate().map(|(i, dy)| dy * gamma(i)).sum::<f64>() / n as f64;
                let product = dy.iter().enumerate().map(|(i, dy)| dy * gamma(i) * hats[i]).sum::<f64>() / n as f64;
                for i in 0..n {
                    let expected = hats[i] * gamma(i) + if has_all { f64::from(bias[i]) } else { 0.0 };
                    let y = f64::from(out[row * n + i]);
                    prop_assert!((y - expected).abs() <= 1e-4, "{} [{row}, {i}] {y} {expected}", kernel.name);
                    let expected = inverse * (dy[i] * gamma(i) - if is_centered { sum } else { 0.0 } - hats[i] * product);
                    let y = f64::from(dx[row * n + i]);
                    prop_assert!((y - expected).abs() <= 2e-4 * inverse.max(1.0), "{} dx [{row}, {i}] {y} {expected}", kernel.name);
                    by_scale[i] += dy[i] * hats[i];
                    by_bias[i] += dy[i];
                }
            }
            for i in 0..n {
                prop_assert!((f64::from(dscale[i]) - by_scale[i]).abs() <= 1e-3, "{} {} {}", kernel.name, dscale[i], by_scale[i]);
                prop_assert!((f64::from(dbias[i]) - by_bias[i]).abs() <= 1e-3, "{} {} {}", kernel.name, dbias[i], by_bias[i]);
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for (rows, n) in [(2000, 256), (3001, 30), (100, 3000)] {
        let (x, dy, scale) = (noise(rows * n, 1), noise(rows * n, 2), noise(n, 3));
        let norm = LayerNorm { scale: Some(&scale), bias: None, epsilon: 1e-5, is_centered: true };
        let all: Vec<_> = [1, 2, 4]
            .iter()
            .map(|&n_threads| {
                let threads = &Threads::new(n_threads);
                let (mut mean, mut inv_std, mut out) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; x.len()]);
                normalize(threads, &x, n, &norm, &mut mean, &mut inv_std, &mut out).unwrap();
                let saved = Saved { mean: &mean, inv_std: &inv_std };
                let (mut dx, mut dscale, mut dbias) = (vec![0.0; x.len()], vec![0.0; n], vec![0.0; n]);
                let sums = [Some(&mut dscale[..]), Some(&mut dbias[..])];
                gradient(threads, &dy, &x, n, &norm, saved, &mut dx, sums).unwrap();
                let mut again = dy.clone();
                gradient_in_place(threads, &mut again, &x, n, &norm, saved, [None, None]).unwrap();
                assert_eq!(dx, again);
                [mean, inv_std, out, dx, dscale, dbias]
            })
            .collect();
        assert!(all[1..].iter().all(|results| *results == all[0]), "[{rows}, {n}]");
    }
}

#[test]
fn nan_stays_in_its_row_and_wrong_lengths_are_errors() {
    let norm = LayerNorm { scale: None, bias: None, epsilon: 1e-5, is_centered: true };
    let threads = Threads::single();
    for kernel in supported() {
        for at in 0..20 {
            let mut x = noise(40, 3);
            x[at] = f32::NAN;
            let (mut mean, mut inv_std, mut out) = ([0.0; 2], [0.0; 2], [0.0; 40]);
            kernel.normalize(&threads, &x, 20, &norm, &mut mean, &mut inv_std, &mut out).unwrap();
            assert!(out[..20].iter().all(|y| y.is_nan()) && out[20..].iter().all(|y| !y.is_nan()), "{}", kernel.name);
        }
    }
    let (mut one, mut two, mut out) = ([0.0f32; 1], [0.0f32; 2], [0.0f32; 6]);
    assert!(normalize(&threads, &[0.0; 6], 4, &norm, &mut one, &mut two, &mut out).is_err());
    assert!(normalize(&threads, &[0.0; 6], 3, &norm, &mut one, &mut two, &mut out).is_err());
    assert!(normalize(&threads, &[0.0; 6], 3, &norm, &mut [0.0; 2], &mut two, &mut out).is_ok());
    let saved = Saved { mean: &[0.0; 2], inv_std: &[1.0; 2] };
    assert!(gradient(&threads, &[0.0; 6], &[0.0; 6], 3, &norm, saved, &mut out, [Some(&mut two), None]).is_err());
    assert!(gradient(&threads, &[0.0; 5], &[0.0; 6], 3, &norm, saved, &mut out, [None, None]).is_err());
    let none = Saved { mean: &[], inv_std: &[] };
    let mut sums = [9.0; 3];
    assert!(gradient(&threads, &[], &[], 3, &norm, none, &mut [], [Some(&mut sums), None]).is_ok());
    assert_eq!(sums, [0.0; 3]);
}
