use super::*;
use proptest::prelude::*;

fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 100.0 - 10.0).collect()
}

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

/// Column `i` in f64.
fn column(x: &[f32], c: usize, i: usize) -> impl Iterator<Item = f64> + Clone + '_ {
    x.iter().skip(i).step_by(c.max(1)).map(|&x| f64::from(x))
}

fn near(y: f32, expected: f64, size: f64) -> bool {
    (f64::from(y) - expected).abs() <= 2e-6 * size + 1e-9
}

proptest! {
    #[test]
    fn statistics_agree_with_two_passes(rows in 1usize..90, c in 0usize..140, far in prop_oneof![Just(0.0f32), Just(1e4)], seed in 0usize..99) {
        let x: Vec<f32> = noise(rows * c, seed).iter().map(|x| x + far).collect();
        for kernel in supported() {
            let (mut mean, mut variance) = (vec![f32::NAN; c], vec![f32::NAN; c]);
            kernel.statistics(&Threads::single(), &x, &mut mean, &mut variance).unwrap();
            for i in 0..c {
                let expected = column(&x, c, i).sum::<f64>() / rows as f64;
                let spread = column(&x, c, i).map(|x| (x - expected).powi(2)).sum::<f64>() / rows as f64;
                prop_assert!(near(mean[i], expected, 10.0 + f64::from(far)), "{} {i}: {} {expected}", kernel.name, mean[i]);
                prop_assert!(near(variance[i], spread, 100.0), "{} {i}: {} {spread}", kernel.name, variance[i]);
            }
        }
    }

    #[test]
    fn normalizing_agrees_with_the_formula(rows in 0usize..40, c in 1usize..140, has_residual: bool, is_clipped: bool, seed in 0usize..99) {
        let (x, residual) = (noise(rows * c, seed), noise(rows * c, seed + 1));
        let (scale, bias) = (noise(c, seed + 2), noise(c, seed + 3));
        let activation = if is_clipped { Activation::Clip { min: 0.0, max: 6.0 } } else { Activation::Relu };
        for kernel in supported() {
            let mut out = vec![f32::NAN; x.len()];
            let affine = Affine { scale: &scale, bias: &bias };
            kernel.normalize(&Threads::new(2), &x, affine, has_residual.then_some(&residual[..]), activation, &mut out).unwrap();
            for (i, &y) in out.iter().enumerate() {
                let sum = f64::from(x[i]) * f64::from(scale[i % c]) + f64::from(bias[i % c]) + if has_residual { f64::from(residual[i]) } else { 0.0 };
                let expected = sum.max(0.0).min(if is_clipped { 6.0 } else { f64::INFINITY });
                prop_assert!(near(y, expected, 100.0), "{} {i}: {y} {expected}", kernel.name);
            }
        }
    }

    /// All masks, kept and not kept, against the definition; and a mask that is recomputed against that of the output.
    #[test]
    fn gradients_agree_with_the_formula(rows in 1usize..60, c in 1usize..140, kind in 0usize..3, is_clipped: bool, seed in 0usize..99) {
        let (dy, x) = (noise(rows * c, seed), noise(rows * c, seed + 1));
        let (mean, scale, bias) = (noise(c, seed + 2), noise(c, seed + 4), noise(c, seed + 5));
        let inv_std: Vec<f32> = noise(c, seed + 3).iter().map(|x| x.abs() / 10.0 + 0.1).collect();
        let activation = if is_clipped { Activation::Clip { min: 0.0, max: 6.0 } } else { Activation::Relu };
        let affine = Affine { scale: &scale, bias: &bias };
        for kernel in supported() {
            let mut y = vec![0.0; x.len()];
            kernel.normalize(&Threads::single(), &x, affine, None, activation, &mut y).unwrap();
            let mask = [Mask::All, Mask::Output(&y, activation), Mask::Recomputed(affine, activation)][kind];
            let counts = |y: f32| kind == 0 || (y > 0.0 && (!is_clipped || y < 6.0));
            let masked: Vec<f32> = dy.iter().zip(&y).map(|(&dy, &y)| if counts(y) { dy } else { 0.0 }).collect();
            let saved = Saved { mean: &mean, inv_std: &inv_std };
            let (mut dscale, mut dbias, mut kept) = (vec![9.0; c], vec![9.0; c], vec![9.0; x.len()]);
            let at = (dy.as_ptr(), dy.len());
            // SAFETY: equal lengths.
            unsafe { kernel.sums_at(&Threads::new(2), at, &x, saved, mask, kept.as_mut_ptr(), &mut dscale, &mut dbias).unwrap() };
            prop_assert_eq!(&kept, &masked);
            let (mut again, mut bias_again) = (vec![9.0; c], vec![9.0; c]);
            // SAFETY: equal lengths.
            unsafe { kernel.sums_at(&Threads::single(), at, &x, saved, mask, std::ptr::null_mut(), &mut again, &mut bias_again).unwrap() };
            prop_assert!(again == dscale && bias_again == dbias);
            let norm = Norm { scale: &scale, saved, dscale: &dscale, dbias: &dbias };
            let mut dx = vec![9.0; x.len()];
            // SAFETY: equal lengths.
            unsafe { kernel.gradient_at(&Threads::new(2), at, &x, &norm, mask, dx.as_mut_ptr()).unwrap() };
            for i in 0..c {
                let hats = column(&x, c, i).map(|x| (x - f64::from(mean[i])) * f64::from(inv_std[i]));
                let sum = column(&masked, c, i).sum::<f64>();
                let product = column(&masked, c, i).zip(hats.clone()).map(|(dy, hat)| dy * hat).sum::<f64>();
                prop_assert!(near(dbias[i], sum, 10.0 * rows as f64), "{} {i}: {} {sum}", kernel.name, dbias[i]);
                prop_assert!(near(dscale[i], product, 200.0 * rows as f64), "{} {i}: {} {product}", kernel.name, dscale[i]);
                for (row, (dy, hat)) in column(&masked, c, i).zip(hats).enumerate() {
                    let expected = f64::from(scale[i]) * f64::from(inv_std[i]) * (dy - sum / rows as f64 - hat * product / rows as f64);
                    prop_assert!(near(dx[row * c + i], expected, 1e4), "{} {row} {i}: {} {expected}", kernel.name, dx[row * c + i]);
                }
            }
        }
    }
}

#[test]
fn many_rows_far_from_zero_lose_nothing() {
    let (rows, c) = (60_000, 16);
    let mut x: Vec<f32> = noise(rows * c, 5).iter().map(|x| 1000.0 + x / 10.0).collect();
    // A sample that is nothing like the others.
    x[..c].fill(-3000.0);
    for kernel in supported() {
        let (mut mean, mut variance) = (vec![0.0; c], vec![0.0; c]);
        kernel.statistics(&Threads::new(2), &x, &mut mean, &mut variance).unwrap();
        for i in 0..c {
            let expected = column(&x, c, i).sum::<f64>() / rows as f64;
            let spread = column(&x, c, i).map(|x| (x - expected).powi(2)).sum::<f64>() / rows as f64;
            assert!((f64::from(mean[i]) - expected).abs() < 1e-3, "{} {i} {} {expected}", kernel.name, mean[i]);
            let error = (f64::from(variance[i]) / spread - 1.0).abs();
            assert!(error < 1e-4, "{} {i} {} {spread}", kernel.name, variance[i]);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for (rows, c) in [(20_000, 16), (9001, 24), (4000, 100), (300, 1000), (70, 2048), (50_001, 3)] {
        let (dy, x) = (noise(rows * c, 1), noise(rows * c, 2));
        let ones = vec![1.0; c];
        let mut all = Vec::new();
        for n_threads in [1, 2, 4] {
            let threads = &Threads::new(n_threads);
            let (mut mean, mut variance) = (vec![0.0; c], vec![0.0; c]);
            statistics(threads, &x, &mut mean, &mut variance).unwrap();
            let (mut inv_std, mut scale, mut bias) = (vec![0.0; c], vec![0.0; c], vec![0.0; c]);
            let of = Affine { scale: &ones, bias: &mean };
            coefficients([&mean, &variance], 1e-5, of, &mut inv_std, [&mut scale, &mut bias]).unwrap();
            let (mut out, affine) = (vec![0.0; x.len()], Affine { scale: &scale, bias: &bias });
            normalize(threads, &x, affine, Some(&dy), Activation::Relu, &mut out).unwrap();
            let saved = Saved { mean: &mean, inv_std: &inv_std };
            let (mut dscale, mut dbias) = (vec![0.0; c], vec![0.0; c]);
            let (mut masked, mask) = (dy.clone(), Mask::Output(&out, Activation::Relu));
            gradient_sums_in_place(threads, &mut masked, &x, saved, mask, &mut dscale, &mut dbias).unwrap();
            let mut dx = masked.clone();
            let norm = Norm { scale: &ones, saved, dscale: &dscale, dbias: &dbias };
            gradient_in_place(threads, &mut dx, &x, &norm, Mask::All).unwrap();
            // The same without the two in place.
            let mut again = vec![0.0; x.len()];
            gradient(threads, &dy, &x, &norm, mask, &mut again).unwrap();
            assert_eq!(dx, again);
            all.push([mean, variance, out, dscale, dbias, masked, dx]);
        }
        assert!(all[1..].iter().all(|results| *results == all[0]), "[{rows}, {c}]");
    }
}

#[test]
fn nan_stays_in_its_channel() {
    for kernel in supported() {
        for c in [1, 3, 16, 70] {
            for at in 0..c {
                let mut x = noise(40 * c, 3);
                x[20 * c + at] = f32::NAN;
                let (mut mean, mut variance) = (vec![0.0; c], vec![0.0; c]);
                kernel.statistics(&Threads::single(), &x, &mut mean, &mut variance).unwrap();
                for i in 0..c {
                    assert_eq!([mean[i].is_nan(), variance[i].is_nan()], [i == at; 2], "{} {c} {at} {i}", kernel.name);
                }
                let (ones, mut out) = (vec![1.0; c], vec![0.0; x.len()]);
                let affine = Affine { scale: &ones, bias: &ones };
                kernel.normalize(&Threads::single(), &x, affine, None, Activation::Relu, &mut out).unwrap();
                assert!(out.iter().enumerate().all(|(i, y)| y.is_nan() == (i == 20 * c + at)));
            }
        }
    }
}

#[test]
fn an_infinite_output_of_a_relu_counts() {
    let (x, y, dy) = ([1.0f32, 2.0], [f32::INFINITY, 0.0], [3.0f32, 4.0]);
    let saved = Saved { mean: &[0.0], inv_std: &[1.0] };
    let (mut dscale, mut dbias) = ([0.0], [0.0]);
    let mask = Mask::Output(&y, Activation::Relu);
    gradient_sums(&Threads::single(), &dy, &x, saved, mask, &mut dscale, &mut dbias).unwrap();
    assert_eq!((dscale, dbias), ([3.0], [3.0]));
}

#[test]
fn wrong_lengths_are_errors() {
    let threads = Threads::single();
    let (mut one, mut two) = ([0.0f32; 1], [0.0f32; 2]);
    assert!(statistics(&threads, &[0.0; 3], &mut [0.0; 2], &mut two).is_err());
    assert!(statistics(&threads, &[0.0; 4], &mut [0.0; 2], &mut one).is_err());
    assert!(statistics(&threads, &[], &mut [0.0; 2], &mut two).is_err());
    assert!(statistics(&threads, &[0.0], &mut [], &mut []).is_err());
    assert!(statistics(&threads, &[], &mut [], &mut []).is_ok());
    let affine = Affine { scale: &[1.0; 2], bias: &[1.0; 2] };
    assert!(normalize(&threads, &[], affine, None, Activation::None, &mut []).is_ok());
    assert!(normalize(&threads, &[0.0; 2], affine, Some(&[0.0]), Activation::None, &mut two).is_err());
    let saved = Saved { mean: &[0.0; 2], inv_std: &[1.0; 2] };
    let curve = Mask::Output(&[0.0; 4], Activation::Curve(crate::elementwise::Unary::Gelu));
    assert!(gradient_sums(&threads, &[0.0; 4], &[0.0; 4], saved, curve, &mut [0.0; 2], &mut two).is_err());
    let short = Mask::Output(&[0.0; 3], Activation::Relu);
    assert!(gradient_sums(&threads, &[0.0; 4], &[0.0; 4], saved, short, &mut [0.0; 2], &mut two).is_err());
    assert!(gradient_sums(&threads, &[], &[], saved, Mask::All, &mut [0.0; 2], &mut two).is_ok());
    assert_eq!(two, [0.0; 2]);
}
