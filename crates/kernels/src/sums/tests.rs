use super::*;
use proptest::prelude::*;

fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 100.0 - 10.0).collect()
}

proptest! {
    #[test]
    fn sums_agree_with_f64(rows in 0usize..90, c in 1usize..140, seed in 0usize..99) {
        let x = noise(rows * c, seed);
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut out = vec![f32::NAN; c];
            kernel.columns(&Threads::new(2), &x, &mut out).unwrap();
            for (i, &sum) in out.iter().enumerate() {
                let expected: f64 = x.iter().skip(i).step_by(c).map(|&x| f64::from(x)).sum();
                prop_assert!((f64::from(sum) - expected).abs() < 1e-3, "{} {i}: {sum} {expected}", kernel.name);
            }
            let expected: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let sum = kernel.squares(&Threads::new(2), &x);
            prop_assert!((sum - expected).abs() <= 1e-6 * expected, "{}: {sum} {expected}", kernel.name);
        }
    }

    #[test]
    fn scattered_rows_agree_with_a_loop(rows in 1usize..20, n in 0usize..40, indices in prop::collection::vec(-20i64..20, 0..50)) {
        let indices: Vec<i64> = indices.into_iter().filter(|&i| i < rows as i64 && i >= -(rows as i64)).collect();
        let dy = noise(indices.len() * n, 1);
        let mut expected = vec![0.0f32; rows * n];
        for (at, &index) in indices.iter().enumerate() {
            let row = index.rem_euclid(rows as i64) as usize;
            for i in 0..n {
                expected[row * n + i] += dy[at * n + i];
            }
        }
        let mut out = vec![f32::NAN; rows * n];
        scatter_rows(&Threads::new(2), &dy, &indices, n, &mut out).unwrap();
        prop_assert_eq!(out, expected);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for (rows, c) in [(30_000, 16), (9001, 24), (300, 1000), (40, 5000)] {
        let x = noise(rows * c, 1);
        let indices: Vec<i64> = (0..rows).map(|i| (i * i % 17) as i64).collect();
        let all = [1, 2, 4].map(|n_threads| {
            let (threads, mut out, mut scattered) = (&Threads::new(n_threads), vec![0.0; c], vec![0.0; x.len()]);
            columns(threads, &x, &mut out).unwrap();
            scatter_rows(threads, &x, &indices, c, &mut scattered).unwrap();
            (out, squares(threads, &x), scattered)
        });
        assert!(all[1..].iter().all(|results| *results == all[0]), "[{rows}, {c}]");
    }
}

#[test]
fn nan_stays_in_its_column_and_wrong_lengths_are_errors() {
    let threads = &Threads::single();
    let mut x = noise(40 * 20, 1);
    x[10 * 20 + 7] = f32::NAN;
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let mut out = [0.0; 20];
        kernel.columns(threads, &x, &mut out).unwrap();
        assert!(out.iter().enumerate().all(|(i, sum)| sum.is_nan() == (i == 7)), "{}", kernel.name);
        assert!(kernel.squares(threads, &x).is_nan());
        assert!(kernel.columns(threads, &x, &mut [0.0; 7]).is_err());
        assert!(kernel.columns(threads, &x, &mut []).is_err());
        assert!(kernel.columns(threads, &[], &mut []).is_ok());
    }
    let mut out = [0.0; 4];
    for wrong in [2, -3, i64::MIN, i64::MAX] {
        assert!(scatter_rows(threads, &[1.0; 2], &[wrong], 2, &mut out).is_err());
    }
    assert!(scatter_rows(threads, &[1.0; 3], &[1], 2, &mut out).is_err());
    assert!(scatter_rows(threads, &[1.0; 3], &[0], 3, &mut out).is_err());
    assert!(scatter_rows(threads, &[1.0; 2], &[0], 2, &mut []).is_err());
}
