use super::*;
use crate::elementwise::Unary;
use proptest::prelude::*;

/// A triple loop in f64.
fn oracle(a: Matrix<'_>, b: Matrix<'_>, [m, k, n]: [usize; 3]) -> Vec<f64> {
    let at = |x: Matrix<'_>, row: usize, col: usize| f64::from(x.data[row * x.row_stride + col * x.col_stride]);
    let element = |row, col| (0..k).map(|i| at(a, row, i) * at(b, i, col)).sum();
    (0..m).flat_map(|row| (0..n).map(move |col| element(row, col))).collect()
}

fn assert_close(name: &str, out: &[f32], expected: &[f64], k: usize) {
    assert_eq!(out.len(), expected.len());
    for (i, (&x, &y)) in out.iter().zip(expected).enumerate() {
        let bound = 1e-6 * (k as f64 + 4.0) * (1.0 + y.abs());
        assert!((f64::from(x) - y).abs() <= bound, "{name}: element {i} is {x}, expected {y}");
    }
}

fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn rows(data: &[f32], n: usize) -> Matrix<'_> {
    Matrix { data, row_stride: n, col_stride: 1 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Rows straddle the tiles (13, 6, 4), columns the panels (32, 16, 8) and depth the blocks of K (256).
    #[test]
    fn every_kernel_agrees_with_the_oracle(
        m in prop_oneof![0usize..32, 180usize..186],
        k in prop_oneof![0usize..20, 254usize..260, 510usize..514],
        n in 0usize..70,
        has_bias: bool,
        has_residual: bool,
        seed: u32,
        n_threads in 1usize..3,
    ) {
        let (a, b) = (noise(m * k, seed), noise(k * n, seed ^ 1));
        let (bias, residual) = (noise(n, seed ^ 2), noise(m * n, seed ^ 3));
        let mut expected = oracle(rows(&a, k), rows(&b, n), [m, k, n]);
        for (i, sum) in expected.iter_mut().enumerate() {
            *sum += if has_bias { f64::from(bias[i % n]) } else { 0.0 };
            *sum += if has_residual { f64::from(residual[i]) } else { 0.0 };
            *sum = sum.clamp(-0.5, 2.0);
        }
        let epilogue = Epilogue {
            bias: has_bias.then_some(&bias[..]),
            residual: has_residual.then_some(&residual[..]),
            activation: Activation::Clip { min: -0.5, max: 2.0 },
        };
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = PackedB::for_kernel(kernel, rows(&b, n), k, n).unwrap();
            let mut unpacked = vec![f32::NAN; b.len()];
            packed.unpack(&mut unpacked, |row| row * n, 1);
            prop_assert_eq!(&unpacked, &b);
            let mut out = vec![f32::NAN; m * n];
            gemm(&Threads::new(n_threads), &a, m, &packed, &epilogue, &mut out).unwrap();
            assert_close(kernel.name, &out, &expected, k);

            // Packed into memory that held something else, from either orientation.
            let threads = Threads::new(n_threads);
            let transposed = |x: &[f32], rows: usize, cols: usize| -> Vec<f32> {
                (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
            };
            let (a_t, b_t) = (transposed(&a, m, k), transposed(&b, k, n));
            for (a_t, b_t) in [(None, None), (Some(&a_t), None), (None, Some(&b_t)), (Some(&a_t), Some(&b_t))] {
                let a = a_t.map_or(rows(&a, k), |a| Matrix { data: a, row_stride: 1, col_stride: m });
                let b = b_t.map_or(rows(&b, n), |b| Matrix { data: b, row_stride: 1, col_stride: k });
                let mut packed = vec![f32::NAN; changing::packed_len_for(kernel, k, n).unwrap()];
                changing::pack_for(kernel, &threads, b, k, n, &mut packed).unwrap();
                let mut out = vec![f32::NAN; m * n];
                changing::gemm_for(kernel, &threads, a, [m, k, n], &packed, &epilogue, &mut out).unwrap();
                assert_close(kernel.name, &out, &expected, k);
            }
        }
    }

    /// Heads interleaved in rows, either side transposed, as attention has them.
    #[test]
    fn batched_products_agree_with_the_oracle(
        heads in 1usize..4, m in 0usize..20, k in 0usize..20, n in 0usize..40, transposed_a: bool, transposed_b: bool,
        seed: u32,
    ) {
        let (a, b) = (noise(heads * m * k, seed), noise(heads * k * n, seed ^ 1));
        let a_strides = if transposed_a { [1, m] } else { [k, 1] };
        let b_strides = if transposed_b { [1, k] } else { [n, 1] };
        let offsets: Vec<_> = (0..heads).map(|head| [head * m * k, head * k * n, head * n]).collect();
        let batch = Batch {
            m, k, n, a_strides, b_strides, out_stride: heads * n, offsets: &offsets, scale: 0.5,
            activation: Activation::Curve(Unary::Square),
        };
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut out = vec![f32::NAN; heads * m * n];
            batched_with(kernel, &Threads::new(2), &batch, &a, &b, &mut out).unwrap();
            for (head, offsets) in offsets.iter().enumerate() {
                let a = Matrix { data: &a[offsets[0]..], row_stride: a_strides[0], col_stride: a_strides[1] };
                let b = Matrix { data: &b[offsets[1]..], row_stride: b_strides[0], col_stride: b_strides[1] };
                let expected: Vec<f64> = oracle(a, b, [m, k, n]).iter().map(|x| x * x * 0.25).collect();
                let here: Vec<f32> = out.chunks(heads * n.max(1)).take(m)
                    .flat_map(|row| row[head * n..(head + 1) * n].to_vec()).collect();
                assert_close(kernel.name, &here, &expected, k);
            }
        }
    }
}

#[test]
fn results_are_the_same_bytes_at_any_number_of_threads() {
    for [m, k, n] in [[300, 300, 200], [49, 600, 512], [1, 2048, 1000], [13, 5, 3]] {
        let (a, b) = (noise(m * k, 7), noise(k * n, 8));
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = PackedB::for_kernel(kernel, rows(&b, n), k, n).unwrap();
            let run = |n_threads| {
                let mut out = vec![0.0; m * n];
                gemm(&Threads::new(n_threads), &a, m, &packed, &Epilogue::default(), &mut out).unwrap();
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            let alone = run(1);
            for n_threads in 2..6 {
                assert!(run(n_threads) == alone, "{} at {n_threads} threads", kernel.name);
            }
        }
    }
}

#[test]
fn nan_and_infinity_pass_through_relu() {
    let a = [f32::NAN, 1.0, f32::INFINITY, 1.0, -1.0, 1.0];
    let b = [1.0, 1.0];
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let packed = PackedB::for_kernel(kernel, rows(&b, 1), 2, 1).unwrap();
        let epilogue = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
        let mut out = [0.0; 3];
        gemm(&Threads::single(), &a, 3, &packed, &epilogue, &mut out).unwrap();
        assert!(out[0].is_nan() && out[1] == f32::INFINITY && out[2] == 0.0, "{}: {out:?}", kernel.name);
    }
}

#[test]
fn wrong_lengths_and_overlaps_are_errors() {
    let threads = Threads::single();
    let packed = PackedB::new(&[0.0; 6], 2, 3).unwrap();
    assert!(PackedB::new(&[0.0; 5], 2, 3).is_err());
    assert!(gemm(&threads, &[0.0; 3], 2, &packed, &Epilogue::default(), &mut [0.0; 6]).is_err());
    assert!(gemm(&threads, &[0.0; 4], 2, &packed, &Epilogue::default(), &mut [0.0; 5]).is_err());
    let epilogue = Epilogue { bias: Some(&[0.0; 2]), ..Epilogue::default() };
    assert!(gemm(&threads, &[0.0; 4], 2, &packed, &epilogue, &mut [0.0; 6]).is_err());

    let run = |offsets: &[[usize; 3]], out_stride| {
        let batch = Batch {
            m: 2,
            k: 2,
            n: 2,
            a_strides: [2, 1],
            b_strides: [2, 1],
            out_stride,
            offsets,
            scale: 1.0,
            activation: Activation::None,
        };
        batched(&threads, &batch, &[1.0; 8], &[1.0; 8], &mut [0.0; 8])
    };
    assert!(run(&[[0, 0, 0], [4, 4, 4]], 2).is_ok());
    assert!(run(&[[0, 0, 0], [4, 4, 2]], 4).is_ok());
    assert!(run(&[[0, 0, 0], [4, 4, 3]], 2).is_err(), "the second starts inside the first");
    assert!(run(&[[0, 0, 0], [4, 4, 1]], 4).is_err(), "columns overlap");
    assert!(run(&[[0, 0, 0], [4, 4, 5]], 2).is_err(), "past the end");
    assert!(run(&[[5, 0, 0]], 2).is_err(), "A past the end");
}
