use super::*;
use crate::activation::Activation;
use crate::elementwise::Unary;
use proptest::prelude::*;

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// `[k, n]` in blocks of `block` adjacent inputs.
fn blocks([k, n]: [usize; 2], density: f32, block: usize, seed: u64) -> Vec<f32> {
    let keep = sparse(k.div_ceil(block.max(1)) * n, density, seed + 3);
    noise(k * n, seed)
        .iter()
        .enumerate()
        .map(|(i, &w)| if keep[i / n / block * n + i % n] != 0.0 { w } else { 0.0 })
        .collect()
}

fn sparse(len: usize, density: f32, seed: u64) -> Vec<f32> {
    let keep = noise(len, seed + 17);
    noise(len, seed).iter().zip(keep).map(|(&w, keep)| if (keep + 1.0) / 2.0 < density { w } else { 0.0 }).collect()
}

/// `weight` is `[k, n]`.
fn check_all_kernels(weight: &[f32], [m, k, n]: [usize; 3], seed: u64) {
    let x = noise(m * k, seed);
    let (bias, residual) = (noise(n, seed + 2), noise(m * n, seed + 3));
    let transposed: Vec<f32> = (0..k * n).map(|i| weight[i % k * n + i / k]).collect();
    let expected = |index: usize| {
        let (row, col) = (index / n, index % n);
        let sum: f64 = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(weight[i * n + col])).sum();
        (sum + f64::from(bias[col]) + f64::from(residual[index])).max(0.0)
    };
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let packed = PackedSpmv::for_kernel(kernel, weight, k, n, false).unwrap();
        assert_eq!(packed.nonzeros(), weight.iter().filter(|&&w| w != 0.0).count());
        let run = |packed: &PackedSpmv, n_threads, activation| {
            let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
            let mut out = vec![f32::NAN; m * n];
            spmv(&Threads::new(n_threads), &x, m, packed, &epilogue, &mut out).unwrap();
            out
        };
        let out = run(&packed, 1, Activation::Relu);
        for (index, &value) in out.iter().enumerate() {
            let expected = expected(index);
            let error = (f64::from(value) - expected).abs();
            assert!(error <= 1e-4 * (1.0 + expected), "{kernel:?}: {index} is {value}, expected {expected}");
        }
        assert_eq!(out, run(&packed, 3, Activation::Relu), "{kernel:?}: threads change bytes");
        assert_eq!(out, run(&packed, 2, Activation::Curve(Unary::Relu)), "{kernel:?}: curve");
        let packed = PackedSpmv::for_kernel(kernel, &transposed, k, n, true).unwrap();
        assert_eq!(out, run(&packed, 1, Activation::Relu), "{kernel:?}: transposed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Rows straddle the vectors that go together (4), outputs the lanes (8, 16), inputs the windows.
    #[test]
    fn every_kernel_agrees_with_the_oracle(
        m in 0usize..10, k in 0usize..300, n in 0usize..70, density in 0.0f32..1.0, seed in 0u64..1000,
    ) {
        check_all_kernels(&sparse(k * n, density, seed), [m, k, n], seed);
        check_all_kernels(&blocks([k, n], density, 4, seed), [m, k, n], seed);
    }
}

#[test]
fn large_layers_are_split_among_threads() {
    check_all_kernels(&sparse(1000 * 777, 0.1, 5), [1, 1000, 777], 5);
    check_all_kernels(&sparse(513 * 300, 0.3, 5), [7, 513, 300], 5);
}

#[test]
fn nan_stays_nan() {
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let packed = PackedSpmv::for_kernel(kernel, &[1.0; 40 * 3], 40, 3, true).unwrap();
        let mut x = [0.5; 40];
        x[39] = f32::NAN;
        let mut out = [0.0; 3];
        let epilogue = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
        spmv(&Threads::single(), &x, 1, &packed, &epilogue, &mut out).unwrap();
        assert!(out.iter().all(|x| x.is_nan()), "{kernel:?}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    assert!(PackedSpmv::new(&[1.0; 5], 2, 3, false).is_err());
    let packed = PackedSpmv::new(&[1.0; 6], 2, 3, false).unwrap();
    assert_eq!([packed.k(), packed.n()], [2, 3]);
    let run = |x: usize, out: usize| {
        spmv(&Threads::single(), &vec![0.0; x], 2, &packed, &Epilogue::default(), &mut vec![0.0; out])
    };
    assert!(run(4, 6).is_ok());
    assert!(run(3, 6).is_err() && run(4, 5).is_err());
}
