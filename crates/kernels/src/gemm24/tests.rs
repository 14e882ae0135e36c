use super::*;
use crate::activation::Activation;
use crate::conv::{ConvShape, Window};
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

/// `[c_out, c_in, kh, kw]`: of each four adjacent inputs of a tap those are kept that `kept` has a bit for; it is asked with a
/// number of the group.
fn groups(shape: &ConvShape, seed: u64, kept: impl Fn(usize) -> u8) -> Vec<f32> {
    let (taps, k) = (shape.window.taps(), shape.window.taps() * shape.c_in);
    let mut weight = noise(shape.weight_len(), seed);
    for (i, weight) in weight.iter_mut().enumerate() {
        let (output, input, tap) = (i / k, i % k / taps, i % taps);
        if kept((output * taps + tap) * shape.c_in + input / 4) >> (input % 4) & 1 == 0 {
            *weight = 0.0;
        }
    }
    weight
}

/// Two of four, any two.
fn two_of_four(shape: &ConvShape, seed: u64) -> Vec<f32> {
    let pairs = [0b0011, 0b0101, 0b1001, 0b0110, 0b1010, 0b1100];
    groups(shape, seed, |at| pairs[(at * 31 + at / 7 + seed as usize) % 6])
}

/// Loops in f64, channels last.
fn oracle(input: &[f32], images: Images, weight: &[f32], shape: &ConvShape) -> Vec<f64> {
    let Window { kernel, stride, dilation, pads } = shape.window;
    let [out_h, out_w] = shape.window.output_size(images.h, images.w).unwrap();
    let mut out = Vec::new();
    for pixel in 0..images.n * out_h * out_w {
        let (image, y, x) = (pixel / out_w / out_h, pixel / out_w % out_h, pixel % out_w);
        for o in 0..shape.c_out {
            let mut sum = 0.0;
            for at in 0..shape.c_in * kernel[0] * kernel[1] {
                let (i, tap_y, tap_x) = (at / kernel[1] / kernel[0], at / kernel[1] % kernel[0], at % kernel[1]);
                let row = (y * stride[0] + tap_y * dilation[0]).wrapping_sub(pads[0]);
                let col = (x * stride[1] + tap_x * dilation[1]).wrapping_sub(pads[1]);
                if row < images.h && col < images.w {
                    let x = input[((image * images.h + row) * images.w + col) * shape.c_in + i];
                    sum += f64::from(x) * f64::from(weight[o * shape.c_in * kernel[0] * kernel[1] + at]);
                }
            }
            out.push(sum);
        }
    }
    out
}

fn check_all_kernels(shape: ConvShape, images: Images, weight: &[f32], seed: u64) {
    let input = noise(images.n * images.h * images.w * shape.c_in, seed);
    let expected = oracle(&input, images, weight, &shape);
    let (bias, residual) = (noise(shape.c_out, seed + 2), noise(expected.len(), seed + 3));
    let finished = |i: usize| (expected[i] + f64::from(bias[i % shape.c_out]) + f64::from(residual[i])).max(0.0);
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let packed = Packed24::for_kernel(kernel, shape, weight, false).unwrap();
        assert_eq!(packed.nonzeros(), weight.iter().filter(|&&weight| weight != 0.0).count());
        let run = |n_threads, epilogue: &Epilogue<'_>| {
            let mut out = vec![f32::NAN; expected.len()];
            gemm24(&Threads::new(n_threads), &input, images, &packed, epilogue, &mut out).unwrap();
            out
        };
        let close = |out: &[f32], expected: &dyn Fn(usize) -> f64| {
            for (i, &x) in out.iter().enumerate() {
                let (error, y) = ((f64::from(x) - expected(i)).abs(), expected(i));
                assert!(error <= 1e-4 * (1.0 + y.abs()), "{kernel:?}: {i} is {x}, expected {y}");
            }
        };
        close(&run(1, &Epilogue::default()), &|i| expected[i]);
        let mut epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu };
        let out = run(2, &epilogue);
        close(&out, &finished);
        assert_eq!(out, run(1, &epilogue), "{kernel:?}: threads change bytes");
        assert_eq!(out, run(5, &epilogue), "{kernel:?}: threads change bytes");
        epilogue.activation = Activation::Curve(Unary::Relu);
        assert_eq!(out, run(3, &epilogue), "{kernel:?}: curve");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_kernel_agrees_with_the_oracle(
        kernel in [1usize..4, 1usize..4], stride in [1usize..4, 1usize..4], dilation in [1usize..3, 1usize..3],
        pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3], (c_in, c_out) in (1usize..35, 1usize..40),
        n in 0usize..3, h in 1usize..8, w in 1usize..20, seed in 0u64..1000,
    ) {
        let window = Window { kernel, stride, dilation, pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in, c_out, groups: 1 };
        check_all_kernels(shape, Images { n, h, w }, &two_of_four(&shape, seed), seed);
    }

    /// Rows straddle the tiles (4, 8), outputs the panels (4, 16, 32), inputs the chunks (32); groups keep none to all.
    #[test]
    fn linear_layers_of_any_density_agree_with_the_oracle(
        m in 1usize..40, k in 1usize..150, n in 1usize..80, most in 0usize..16, seed in 0u64..1000,
    ) {
        let shape = ConvShape { window: Window::POINT, c_in: k, c_out: n, groups: 1 };
        let weight = groups(&shape, seed, |at| (at.wrapping_mul(2_654_435_761) >> 9) as u8 & 15 & (most as u8 | 1));
        check_all_kernels(shape, Images { n: 1, h: 1, w: m }, &weight, seed);
    }
}

#[test]
fn large_layers_cross_strips_and_tasks() {
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };
    let shape = ConvShape { window, c_in: 60, c_out: 133, groups: 1 };
    check_all_kernels(shape, Images { n: 2, h: 13, w: 14 }, &two_of_four(&shape, 3), 3);
    let shape = ConvShape { window: Window::POINT, c_in: 1028, c_out: 300, groups: 1 };
    check_all_kernels(shape, Images { n: 1, h: 9, w: 7 }, &two_of_four(&shape, 4), 4);
}

#[test]
fn all_zeros_and_no_channels_are_the_bias() {
    for c_in in [0, 5] {
        let shape = ConvShape { window: Window::POINT, c_in, c_out: 18, groups: 1 };
        check_all_kernels(shape, Images { n: 1, h: 3, w: 7 }, &vec![0.0; 18 * c_in], 3);
    }
}

#[test]
fn weights_that_keep_more_take_more_passes() {
    let shape = ConvShape { window: Window::POINT, c_in: 8, c_out: 1, groups: 1 };
    let passes = |weight: [f32; 8]| Packed24::conv(shape, &weight).unwrap().passes;
    assert_eq!(passes([1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]), 1);
    assert_eq!(passes([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]), 2);
    assert_eq!(passes([0.0; 8]), 1);
}

#[test]
fn nan_and_infinity_reach_the_outputs_that_use_them() {
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        // Three outputs; the second keeps inputs 0 and 1 of each group, the others 2 and 3.
        let shape = ConvShape { window: Window::POINT, c_in: 20, c_out: 3, groups: 1 };
        let weight: Vec<f32> = (0..60).map(|at| if (at / 20 == 1) == (at % 4 < 2) { 0.5 } else { 0.0 }).collect();
        let packed = Packed24::for_kernel(kernel, shape, &weight, false).unwrap();
        for value in [f32::NAN, f32::INFINITY] {
            let mut input = [1.0; 17 * 20];
            input[16 * 20 + 4] = value;
            let mut out = [0.0; 17 * 3];
            let epilogue = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
            gemm24(&Threads::single(), &input, Images { n: 1, h: 1, w: 17 }, &packed, &epilogue, &mut out).unwrap();
            let is_finite: Vec<bool> = out.iter().map(|x| x.is_finite()).collect();
            assert!(is_finite[..16 * 3].iter().all(|&is| is), "{kernel:?}");
            assert_eq!(is_finite[16 * 3..], [true, false, true], "{kernel:?}");
        }
    }
}

#[test]
fn linear_reads_both_orders() {
    for (k, n) in [(5, 3), (1, 17), (17, 1), (40, 16), (110, 37)] {
        let weight: Vec<f32> = (0..k * n).map(|i| (i % 4) as f32).collect();
        let rows: Vec<f32> = (0..k * n).map(|i| weight[i % k * n + i / k]).collect();
        let x = noise(2 * k, 1);
        let run = |packed: Packed24| {
            let mut out = vec![0.0; 2 * n];
            let images = Images { n: 1, h: 1, w: 2 };
            gemm24(&Threads::single(), &x, images, &packed, &Epilogue::default(), &mut out).unwrap();
            out
        };
        let out = run(Packed24::linear(&weight, k, n, false).unwrap());
        assert_eq!(out, run(Packed24::linear(&rows, k, n, true).unwrap()));
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let shape = ConvShape { window: Window::POINT, c_in: 4, c_out: 6, groups: 1 };
    let packed = Packed24::conv(shape, &[1.0; 24]).unwrap();
    assert!(Packed24::conv(shape, &[1.0; 23]).is_err());
    assert!(Packed24::conv(ConvShape { groups: 2, ..shape }, &[1.0; 12]).is_err());
    let run = |input: usize, out: usize, bias: usize| {
        let bias = vec![0.0; bias];
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        let images = Images { n: 1, h: 1, w: 2 };
        gemm24(&Threads::single(), &vec![0.0; input], images, &packed, &epilogue, &mut vec![0.0; out])
    };
    assert!(run(8, 12, 6).is_ok());
    assert!(run(7, 12, 6).is_err() && run(8, 11, 6).is_err() && run(8, 12, 5).is_err());
}
