use super::*;
use crate::Activation;
use crate::gemm::{PackedB, gemm};
use proptest::prelude::*;

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

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

fn transposed<T: Copy>(x: &[T], rows: usize) -> Vec<T> {
    let cols = x.len() / rows.max(1);
    (0..x.len()).map(|i| x[i % rows * cols + i / rows]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The oracle decodes and multiplies in f32.
    #[test]
    fn every_kernel_agrees_with_decoding(
        m in 0usize..10, k in prop_oneof![0usize..70, 250usize..260], n in 0usize..140, is_four: bool,
        group in prop_oneof![Just(1usize), Just(7), Just(32), Just(64), Just(128), Just(1000)],
        has_zeros: bool, is_transposed: bool, has_extras: bool, seed: u32, n_threads in 1usize..4,
    ) {
        let bits = if is_four { Bits::Four } else { Bits::Eight };
        let limit = if is_four { 8.0 } else { 128.0 };
        let code = |x: &f32| (x * limit).floor().clamp(-limit, limit - 1.0) as i8;
        let n_groups = k.div_ceil(group.min(k.max(1)));
        let values: Vec<i8> = noise(k * n, seed).iter().map(code).collect();
        let scales: Vec<f32> = noise(n_groups * n, seed ^ 1).iter().map(|x| (x + 1.1) / limit).collect();
        let zeros: Vec<i8> = noise(n_groups * n, seed ^ 2).iter().map(code).collect();
        let zeros = if has_zeros { zeros } else { Vec::new() };
        let group_of = |row: usize| row / group.min(k.max(1));
        let decoded: Vec<f32> = (0..k * n).map(|i| {
            let at = group_of(i / n) * n + i % n;
            scales[at] * (f32::from(values[i]) - zeros.get(at).map_or(0.0, |&zero| f32::from(zero)))
        }).collect();
        let a = noise(m * k, seed ^ 3);
        let (bias, residual) = (noise(n, seed ^ 4), noise(m * n, seed ^ 5));
        let epilogue = Epilogue {
            bias: has_extras.then_some(&bias[..]),
            residual: has_extras.then_some(&residual[..]),
            activation: if has_extras { Activation::Clip { min: -0.5, max: 2.0 } } else { Activation::None },
        };
        let mut expected = vec![0.0; m * n];
        let packed = PackedB::new(&decoded, k, n).unwrap();
        gemm(&Threads::single(), &a, m, &packed, &epilogue, &mut expected).unwrap();
        let turned = (transposed(&values, k), transposed(&scales, n_groups), transposed(&zeros, n_groups));
        let codes = if is_transposed {
            Codes { bits, values: &turned.0, scales: &turned.1, zero_points: &turned.2, group, is_transposed }
        } else {
            Codes { bits, values: &values, scales: &scales, zero_points: &zeros, group, is_transposed }
        };
        for kernel in supported() {
            let packed = PackedW::for_kernel(kernel, &codes, k, n).unwrap();
            let mut out = vec![f32::NAN; m * n];
            wgemm(&Threads::new(n_threads), &a, m, &packed, &epilogue, &mut out).unwrap();
            for (i, (&x, &y)) in out.iter().zip(&expected).enumerate() {
                let bound = 2e-6 * (k as f32 + 10.0) * (1.0 + y.abs());
                prop_assert!((x - y).abs() <= bound, "{}: element {i} is {x}, expected {y}", kernel.name);
            }
        }
    }
}

#[test]
fn results_are_the_same_bytes_at_any_number_of_threads_and_curves_are_applied() {
    let (m, k, n) = (3, 300, 500);
    let values: Vec<i8> = (0..k * n).map(|i| (i * 37 % 256) as u8 as i8).collect();
    let scales = vec![0.01; n];
    let codes =
        Codes { bits: Bits::Eight, values: &values, scales: &scales, zero_points: &[], group: k, is_transposed: false };
    let packed = PackedW::new(&codes, k, n).unwrap();
    let a = noise(m * k, 1);
    let run = |n_threads, activation| {
        let mut out = vec![0.0; m * n];
        let epilogue = Epilogue { activation, ..Epilogue::default() };
        wgemm(&Threads::new(n_threads), &a, m, &packed, &epilogue, &mut out).unwrap();
        out
    };
    let plain = run(1, Activation::None);
    assert_eq!(plain, run(2, Activation::None));
    assert_eq!(plain, run(5, Activation::None));
    let squares: Vec<f32> = plain.iter().map(|x| x * x).collect();
    assert_eq!(squares, run(2, Activation::Curve(crate::elementwise::Unary::Square)));
}

#[test]
fn wrong_lengths_are_errors() {
    let (values, scales) = ([1i8; 6], [1.0f32; 4]);
    let codes =
        Codes { bits: Bits::Four, values: &values, scales: &scales, zero_points: &[], group: 2, is_transposed: false };
    let packed = PackedW::new(&codes, 3, 2).unwrap();
    assert!(PackedW::new(&codes, 2, 2).is_err());
    assert!(PackedW::new(&Codes { group: 0, ..codes }, 3, 2).is_err());
    assert!(PackedW::new(&Codes { scales: &scales[..3], ..codes }, 3, 2).is_err());
    assert!(PackedW::new(&Codes { zero_points: &[1; 3], ..codes }, 3, 2).is_err());
    let threads = Threads::single();
    let run = |a: &[f32], m, out: &mut [f32]| wgemm(&threads, a, m, &packed, &Epilogue::default(), out);
    assert!(run(&[1.0; 3], 1, &mut [0.0; 2]).is_ok());
    assert!(run(&[1.0; 2], 1, &mut [0.0; 2]).is_err());
    assert!(run(&[1.0; 3], 1, &mut [0.0; 3]).is_err());
}
