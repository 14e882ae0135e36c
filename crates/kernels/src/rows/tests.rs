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
    fn softmax_agrees_with_f64(rows in 0usize..6, n in 1usize..70, is_masked: bool, rows_a_mask in 1usize..3, seed in 0usize..99) {
        let x = noise(rows * n, seed);
        let mut values = noise(rows.div_ceil(rows_a_mask) * n, seed + 1);
        values.iter_mut().skip(1).step_by(5).for_each(|x| *x = f32::NEG_INFINITY);
        let mask = is_masked.then_some(Mask { values: &values, rows_a_mask });
        for kernel in supported() {
            let mut out = vec![f32::NAN; x.len()];
            kernel.softmax(&Threads::new(2), &x, n, mask, &mut out).unwrap();
            for row in 0..rows {
                let sums: Vec<f64> = (0..n).map(|i| {
                    let mask = if is_masked { values[row / rows_a_mask * n + i] } else { 0.0 };
                    f64::from(x[row * n + i] + mask)
                }).collect();
                let top = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = sums.iter().map(|x| (x - top).exp()).sum();
                for (i, sum) in sums.iter().enumerate() {
                    let expected = (sum - top).exp() / total;
                    let y = f64::from(out[row * n + i]);
                    // The distance to the largest is rounded before the power is taken.
                    let relative = 1e-6 + 1e-7 * (sum - top).abs().min(200.0);
                    let is_close = (y - expected).abs() <= relative * expected + 1e-37;
                    // A row masked altogether is NaN in both.
                    prop_assert!(is_close || (y.is_nan() && expected.is_nan()), "{} [{row}, {i}] {y} {expected}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn layer_norm_agrees_with_f64(rows in 0usize..6, n in 1usize..140, has_all: bool, seed in 0usize..99) {
        // Far from 0, where a one-pass variance would cancel.
        let x: Vec<f32> = noise(rows * n, seed).iter().map(|x| x + 1000.0).collect();
        let (scale, bias, residual) = (noise(n, seed + 1), noise(n, seed + 2), noise(rows * n, seed + 3));
        let norm = LayerNorm { scale: has_all.then_some(&scale[..]), bias: has_all.then_some(&bias[..]), epsilon: 1e-5 };
        let residual = has_all.then_some(&residual[..]);
        for kernel in supported() {
            let mut out = vec![f32::NAN; x.len()];
            kernel.layer_norm(&Threads::new(2), &x, n, residual, &norm, &mut out).unwrap();
            for row in 0..rows {
                let sums: Vec<f64> = (row * n..(row + 1) * n).map(|i| f64::from(x[i] + residual.map_or(0.0, |r| r[i]))).collect();
                let mean = sums.iter().sum::<f64>() / n as f64;
                let variance = sums.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                for (i, sum) in sums.iter().enumerate() {
                    let mut expected = (sum - mean) / (variance + 1e-5).sqrt();
                    if has_all {
                        expected = expected * f64::from(scale[i]) + f64::from(bias[i]);
                    }
                    let y = f64::from(out[row * n + i]);
                    // The mean of numbers near 1000 is known to some 1e-4; small spreads magnify that.
                    let bound = 1e-3 + 3e-4 / (variance + 1e-5).sqrt() * if has_all { 10.0 } else { 1.0 };
                    prop_assert!((y - expected).abs() <= bound, "{} [{row}, {i}] {y} {expected}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn reductions_agree_with_f64(outer in 0usize..4, n in 1usize..70, inner in 1usize..100, seed in 0usize..99) {
        let x = noise(outer * n * inner, seed);
        for op in [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min] {
            for kernel in supported() {
                let mut out = vec![f32::NAN; outer * inner];
                kernel.reduce(&Threads::new(2), op, &x, [outer, n, inner], &mut out).unwrap();
                for (i, &y) in out.iter().enumerate() {
                    let column = (0..n).map(|row| f64::from(x[(i / inner * n + row) * inner + i % inner]));
                    let expected = match op {
                        Reduction::Sum => column.sum(),
                        Reduction::Mean => column.sum::<f64>() / n as f64,
                        Reduction::Max => column.fold(f64::NEG_INFINITY, f64::max),
                        Reduction::Min => column.fold(f64::INFINITY, f64::min),
                    };
                    prop_assert!((f64::from(y) - expected).abs() <= 1e-3, "{} {op:?} {i}: {y} {expected}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn nan_spreads_over_its_row_only() {
    for kernel in supported() {
        for at in 0..20 {
            let mut x = [1.0f32; 40];
            x[at] = f32::NAN;
            let mut out = [0.0; 40];
            kernel.softmax(&Threads::single(), &x, 20, None, &mut out).unwrap();
            assert!(
                out[..20].iter().all(|y| y.is_nan()) && out[20..].iter().all(|&y| y == 0.05),
                "{} {at}",
                kernel.name
            );
            let norm = LayerNorm { scale: None, bias: None, epsilon: 1e-5 };
            kernel.layer_norm(&Threads::single(), &x, 20, None, &norm, &mut out).unwrap();
            assert!(
                out[..20].iter().all(|y| y.is_nan()) && out[20..].iter().all(|&y| y == 0.0),
                "{} {at}",
                kernel.name
            );
            for op in [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min] {
                let mut out = [0.0; 2];
                kernel.reduce(&Threads::single(), op, &x, [2, 20, 1], &mut out).unwrap();
                assert!(out[0].is_nan() && !out[1].is_nan(), "{} {op:?} rows {at}", kernel.name);
                let mut out = [0.0; 20];
                kernel.reduce(&Threads::single(), op, &x, [1, 2, 20], &mut out).unwrap();
                assert!(
                    out.iter().enumerate().all(|(i, y)| y.is_nan() == (i == at)),
                    "{} {op:?} columns {at}",
                    kernel.name
                );
            }
        }
    }
}

#[test]
fn in_place_is_the_same_and_wrong_lengths_are_errors() {
    let threads = Threads::new(2);
    let mut x = noise(6 * 2000, 1);
    let mut out = vec![0.0; x.len()];
    softmax(&threads, &x, 2000, None, &mut out).unwrap();
    softmax_in_place(&threads, &mut x, 2000, None).unwrap();
    assert_eq!(x, out);
    assert!(softmax(&threads, &x, 0, None, &mut out).is_err());
    assert!(softmax(&threads, &x, 7001, None, &mut out).is_err());
    assert!(softmax(&threads, &x, 2000, Some(Mask { values: &x[..1], rows_a_mask: 6 }), &mut out).is_err());
    assert!(softmax(&threads, &x, 2000, Some(Mask { values: &x[..2000], rows_a_mask: 0 }), &mut out).is_err());
    assert!(reduce(&threads, Reduction::Sum, &x, [1, 0, 3], &mut [0.0; 3]).is_err());
    assert!(reduce(&threads, Reduction::Sum, &[], [0, 0, 3], &mut []).is_ok());
    assert!(softmax(&threads, &[], 0, None, &mut []).is_ok());
}
