use super::*;
use crate::activation::Activation;
use crate::conv::ConvShape;
use proptest::prelude::*;

fn noise(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn rounded(x: f32) -> f64 {
    f64::from(widen(round(x)))
}

/// Rounds to nearest even by trying: the closer of the two neighbours, the even one of two that are as close.
fn nearest(x: f32) -> u16 {
    let below = (x.to_bits() >> 16) as u16;
    let (low, high) = (f64::from(widen(below)), f64::from(widen(below + 1)));
    // Past the largest bf16 the next one would be 2^128.
    let high = if high.is_infinite() { 2f64.powi(128).copysign(high) } else { high };
    let (down, up) = ((f64::from(x) - low).abs(), (high - f64::from(x)).abs());
    if down < up || down == up && below.is_multiple_of(2) { below } else { below + 1 }
}

fn assert_close(name: &str, out: &[f32], expected: &[f64], k: usize) {
    assert_eq!(out.len(), expected.len());
    for (i, (&x, &y)) in out.iter().zip(expected).enumerate() {
        let bound = 1e-6 * (k as f64 + 4.0) * (1.0 + y.abs());
        assert!((f64::from(x) - y).abs() <= bound, "{name}: element {i} is {x}, expected {y}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rounding_takes_the_nearest(bits: u32) {
        let x = f32::from_bits(bits);
        if x.is_nan() {
            prop_assert!(widen(round(x)).is_nan());
        } else if x.is_infinite() || x.is_normal() {
            let expected = if x.is_infinite() { (bits >> 16) as u16 } else { nearest(x) };
            prop_assert_eq!(round(x), expected);
        } else {
            prop_assert_eq!(round(x), (bits >> 16) as u16 & 0x8000);
        }
    }

    /// Lengths straddle two vectors; every bit pattern is a number.
    #[test]
    fn every_kernel_rounds_to_the_same_bits(bits in prop::collection::vec(any::<u32>(), 0..70)) {
        let from: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        let mut expected = vec![0.0; from.len().div_ceil(2)];
        bf16::round_pairs(&from, &mut expected);
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut to = vec![1.0; expected.len()];
            // SAFETY: supported.
            unsafe { (kernel.round)(&from, &mut to) };
            let same = to.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            prop_assert!(same, "{}: {:?} {:?}", kernel.name, to, expected);
        }
    }

    /// Rows straddle the tiles (13, 26, 4), columns the panels (32, 16, 8) and depth the blocks (512).
    #[test]
    fn every_kernel_agrees_with_the_product_of_rounded_numbers(
        m in prop_oneof![0usize..32, 180usize..186], k in prop_oneof![0usize..20, 510usize..515, 1022usize..1026],
        n in 0usize..70, is_transposed: bool, has_bias: bool, has_residual: bool, seed in 0u64..1000,
        n_threads in 1usize..3,
    ) {
        let (a, b) = (noise(m * k, seed), noise(k * n, seed + 1));
        let (bias, residual) = (noise(n, seed + 2), noise(m * n, seed + 3));
        let mut expected = Vec::new();
        for (row, col) in (0..m).flat_map(|row| (0..n).map(move |col| (row, col))) {
            let at = |i: usize| if is_transposed { b[col * k + i] } else { b[i * n + col] };
            let mut sum: f64 = (0..k).map(|i| rounded(a[row * k + i]) * rounded(at(i))).sum();
            sum += if has_bias { f64::from(bias[col]) } else { 0.0 };
            sum += if has_residual { f64::from(residual[row * n + col]) } else { 0.0 };
            expected.push(sum.max(0.0));
        }
        let epilogue = Epilogue {
            bias: has_bias.then_some(&bias[..]),
            residual: has_residual.then_some(&residual[..]),
            activation: Activation::Relu,
        };
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = PackedBf16::linear_for(kernel, &b, k, n, is_transposed).unwrap();
            let mut out = vec![f32::NAN; m * n];
            bgemm(&Threads::new(n_threads), &a, m, &packed, &epilogue, &mut out).unwrap();
            assert_close(kernel.name, &out, &expected, k);
        }
    }

    /// Both sides through strides: as they are, transposed, and with gaps.
    #[test]
    fn products_of_two_changing_sides_agree_with_rounded_numbers(
        m in prop_oneof![0usize..32, 205usize..212], k in prop_oneof![0usize..20, 510usize..515, 1022usize..1026], n in 0usize..70,
        a_kind in 0usize..3, b_kind in 0usize..3, seed in 0u64..1000,
    ) {
        let strides = |kind: usize, rows: usize, cols: usize| match kind {
            0 => [cols, 1],
            1 => [1, rows],
            _ => [2 * cols, 2],
        };
        let ([a_row, a_col], [b_row, b_col]) = (strides(a_kind, m, k), strides(b_kind, k, n));
        let (a, b, bias) = (noise(2 * m * k, seed), noise(2 * k * n, seed + 1), noise(n, seed + 2));
        let mut expected = Vec::new();
        for (row, col) in (0..m).flat_map(|row| (0..n).map(move |col| (row, col))) {
            let products = (0..k).map(|i| rounded(a[row * a_row + i * a_col]) * rounded(b[i * b_row + col * b_col]));
            expected.push(products.sum::<f64>() + f64::from(bias[col]));
        }
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let run = |n_threads| {
                let threads = Threads::new(n_threads);
                let mut packed = vec![f32::NAN; changing::packed_len_for(kernel, k, n).unwrap()];
                let b = gemm::Matrix { data: &b, row_stride: b_row, col_stride: b_col };
                changing::pack_for(kernel, &threads, b, k, n, &mut packed).unwrap();
                let a = gemm::Matrix { data: &a, row_stride: a_row, col_stride: a_col };
                let mut out = vec![f32::NAN; m * n];
                changing::product_for(kernel, &threads, a, [m, k, n], &packed, &epilogue, &mut out).unwrap();
                out
            };
            let out = run(2);
            prop_assert!(out == run(1), "{}: threads change bytes", kernel.name);
            assert_close(kernel.name, &out, &expected, k);
        }
    }

    /// The convolution in f32 of rounded numbers, which has its own oracle.
    #[test]
    fn convolutions_agree_with_those_of_rounded_numbers(
        kernel in [1usize..4, 1usize..4], stride in [1usize..3, 1usize..3], dilation in [1usize..3, 1usize..3],
        pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3],
        (groups, c_in, c_out) in (1usize..4, 1usize..40, 1usize..40),
        n in 0usize..3, h in 1usize..8, w in 1usize..20, seed in 0u64..1000,
    ) {
        let window = Window { kernel, stride, dilation, pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in: c_in * groups, c_out: c_out * groups, groups };
        check_conv(shape, Images { n, h, w }, seed);
    }
}

fn check_conv(shape: ConvShape, images: Images, seed: u64) {
    let round_all = |x: Vec<f32>| x.into_iter().map(|x| widen(round(x))).collect::<Vec<_>>();
    let input = noise(images.n * images.h * images.w * shape.c_in, seed);
    let weight = noise(shape.weight_len(), seed + 1);
    let [out_h, out_w] = shape.window.output_size(images.h, images.w).unwrap();
    let mut expected = vec![f32::NAN; images.n * out_h * out_w * shape.c_out];
    let (bias, residual) = (noise(shape.c_out, seed + 2), noise(expected.len(), seed + 3));
    let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::None };
    let is_rounded = !PackedBf16::conv(shape, &weight).unwrap().is_f32();
    let (exact_input, exact_weight) = if is_rounded {
        (round_all(input.clone()), round_all(weight.clone()))
    } else {
        (input.clone(), weight.clone())
    };
    let exact = crate::conv::PackedConv::new(shape, &exact_weight).unwrap();
    conv(&Threads::single(), &exact_input, images, &exact, &epilogue, &mut expected).unwrap();
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    let k = shape.weight_len() / shape.c_out;
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let packed = PackedBf16::conv_for(kernel, shape, &weight).unwrap();
        let run = |n_threads| {
            let mut out = vec![f32::NAN; expected.len()];
            bconv(&Threads::new(n_threads), &input, images, &packed, &epilogue, &mut out).unwrap();
            out
        };
        let out = run(2);
        assert_eq!(out, run(1), "{} threads change bytes", kernel.name);
        assert_close(kernel.name, &out, &expected, k);
    }
}

#[test]
fn layers_of_networks_agree() {
    let window =
        |size, stride| Window { kernel: [size; 2], stride: [stride; 2], dilation: [1, 1], pads: [size / 2; 4] };
    let images = Images { n: 2, h: 15, w: 17 };
    for (size, stride, c_in, c_out, groups) in [
        (3, 1, 64, 64, 1),
        (7, 2, 3, 64, 1),
        (1, 2, 256, 33, 1),
        (1, 1, 600, 16, 1),
        (3, 1, 9, 20, 1),
        (3, 1, 20, 20, 20),
    ] {
        check_conv(ConvShape { window: window(size, stride), c_in, c_out, groups }, images, 5);
    }
}

#[test]
fn weights_of_another_layer_are_errors() {
    let threads = Threads::single();
    let linear = PackedBf16::linear(&[0.5; 6], 2, 3, false).unwrap();
    let shape = ConvShape { window: Window::POINT, c_in: 8, c_out: 3, groups: 1 };
    let point = PackedBf16::conv(shape, &[0.125; 24]).unwrap();
    let (epilogue, images) = (Epilogue::default(), Images { n: 1, h: 1, w: 1 });
    let mut out = [0.0; 3];
    assert!(bgemm(&threads, &[1.0; 2], 1, &linear, &epilogue, &mut out).is_ok());
    assert!(bconv(&threads, &[1.0; 8], images, &point, &epilogue, &mut out).is_ok());
    assert_eq!(out, [1.0; 3]);
    assert!(bgemm(&threads, &[1.0; 8], 1, &point, &epilogue, &mut out).is_err());
    assert!(bconv(&threads, &[1.0; 8], images, &linear, &epilogue, &mut out).is_err());
    assert!(bgemm(&threads, &[1.0; 3], 1, &linear, &epilogue, &mut out).is_err());
    assert!(bconv(&threads, &[1.0; 8], images, &point, &epilogue, &mut out[1..]).is_err());
    assert!(PackedBf16::linear(&[0.5; 5], 2, 3, true).is_err());
    assert!(PackedBf16::conv(ConvShape { groups: 2, ..shape }, &[0.5; 24]).is_err());
}
