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

/// Noise of which about `density` is left, in blocks of adjacent outputs by adjacent inputs.
fn sparse(shape: &ConvShape, density: f64, [outputs, inputs]: [usize; 2], seed: u64) -> Vec<f32> {
    let mut weight = noise(shape.weight_len(), seed);
    let taps = shape.window.taps();
    let k = (shape.c_in * taps).max(1);
    let choice = noise(weight.len(), seed + 17);
    for (i, w) in weight.iter_mut().enumerate() {
        if f64::from(choice[i / k / outputs * outputs * k + i % k / taps / inputs * inputs * taps + i % taps] + 1.0)
            / 2.0
            >= density
        {
            *w = 0.0;
        }
    }
    weight
}

/// Seven loops in f64, channels last.
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
                let w = weight[o * shape.c_in * kernel[0] * kernel[1] + at];
                if row < images.h && col < images.w && w != 0.0 {
                    sum +=
                        f64::from(input[((image * images.h + row) * images.w + col) * shape.c_in + i]) * f64::from(w);
                }
            }
            out.push(sum);
        }
    }
    out
}

/// `[n, pixels, c]` in the layout `to`.
fn laid_out<T: Copy>(last: &[T], n: usize, c: usize, to: Channels) -> Vec<T> {
    if to == Channels::Last || n * c == 0 {
        return last.to_vec();
    }
    let plane = last.len() / n / c;
    (0..last.len()).map(|i| last[(i / plane / c * plane + i % plane) * c + i / plane % c]).collect()
}

fn check_all_kernels(shape: ConvShape, images: Images, weight: &[f32], seed: u64) {
    let [out_h, out_w] = shape.window.output_size(images.h, images.w).unwrap();
    let last = noise(images.n * images.h * images.w * shape.c_in, seed);
    let expected = oracle(&last, images, weight, &shape);
    assert_eq!(expected.len(), images.n * out_h * out_w * shape.c_out);
    let (bias, residual) = (noise(shape.c_out, seed + 2), noise(expected.len(), seed + 3));
    let finished: Vec<f64> = expected
        .iter()
        .enumerate()
        .map(|(i, sum)| (sum + f64::from(bias[i % shape.c_out]) + f64::from(residual[i])).max(0.0))
        .collect();
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        if kernel.depth > 1 && shape.c_in < kernel.depth {
            assert!(PackedSpmm::for_kernel(kernel, shape, weight).is_err());
            continue;
        }
        let packed = PackedSpmm::for_kernel(kernel, shape, weight).unwrap();
        for (from, to) in [
            (Channels::Last, Channels::Last),
            (Channels::First, Channels::First),
            (Channels::Last, Channels::First),
            (Channels::First, Channels::Last),
        ] {
            let input = laid_out(&last, images.n, shape.c_in, from);
            let residual = laid_out(&residual, images.n, shape.c_out, to);
            let run = |n_threads, epilogue: &Epilogue<'_>| {
                let mut out = vec![f32::NAN; expected.len()];
                spmm(&Threads::new(n_threads), &input, images, from, &packed, epilogue, to, &mut out).unwrap();
                out
            };
            let close = |out: &[f32], expected: &[f64]| {
                for (i, (&x, y)) in out.iter().zip(laid_out(expected, images.n, shape.c_out, to)).enumerate() {
                    let error = (f64::from(x) - y).abs();
                    assert!(error <= 1e-4 * (1.0 + y.abs()), "{kernel:?} {from:?} {to:?}: {i} is {x}, expected {y}");
                }
            };
            close(&run(1, &Epilogue::default()), &expected);
            let mut epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu };
            let out = run(2, &epilogue);
            close(&out, &finished);
            assert_eq!(out, run(1, &epilogue), "{kernel:?} {from:?} {to:?}: threads change bytes");
            assert_eq!(out, run(5, &epilogue), "{kernel:?} {from:?} {to:?}: threads change bytes");
            epilogue.activation = Activation::Curve(Unary::Relu);
            assert_eq!(out, run(3, &epilogue), "{kernel:?} {from:?} {to:?}: curve");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_kernel_agrees_with_the_oracle(
        kernel in [1usize..4, 1usize..4], stride in [1usize..4, 1usize..4], dilation in [1usize..3, 1usize..3],
        pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3], (c_in, c_out) in (1usize..35, 1usize..40),
        n in 0usize..3, h in 1usize..8, w in 1usize..40, density in 0.0..1.0,
        block in [1usize..5, 1usize..5], seed in 0u64..1000,
    ) {
        let window = Window { kernel, stride, dilation, pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in, c_out, groups: 1 };
        check_all_kernels(shape, Images { n, h, w }, &sparse(&shape, density, block, seed), seed);
    }

    /// Pixels straddle the vectors (8, 16) and blocks (96, 128), outputs the parts, inputs the blocks of K.
    #[test]
    fn linear_layers_agree_with_the_oracle(
        m in 1usize..150, k in 1usize..150, n in 1usize..150, density in 0.0..0.6,
        block in [1usize..5, 1usize..5], seed in 0u64..1000,
    ) {
        let shape = ConvShape { window: Window::POINT, c_in: k, c_out: n, groups: 1 };
        check_all_kernels(shape, Images { n: 1, h: 1, w: m }, &sparse(&shape, density, block, seed), seed);
    }
}

#[test]
fn large_layers_cross_all_blocks() {
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };
    let shape = ConvShape { window, c_in: 61, c_out: 133, groups: 1 };
    check_all_kernels(shape, Images { n: 2, h: 13, w: 14 }, &sparse(&shape, 0.1, [1, 1], 3), 3);
    let shape = ConvShape { window: Window::POINT, c_in: 70, c_out: 2100, groups: 1 };
    check_all_kernels(shape, Images { n: 1, h: 7, w: 7 }, &sparse(&shape, 0.1, [4, 1], 3), 3);
}

#[test]
fn all_zeros_and_no_channels_are_the_bias() {
    for c_in in [0, 5] {
        let shape = ConvShape { window: Window::POINT, c_in, c_out: 18, groups: 1 };
        check_all_kernels(shape, Images { n: 1, h: 3, w: 7 }, &vec![0.0; 18 * c_in], 3);
    }
}

#[test]
fn nan_reaches_the_outputs_that_use_it() {
    let is_single = |kernel: &&Kernel| kernel.block_rows == 1 && kernel.depth == 1;
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()).filter(is_single) {
        // Three outputs of 20 inputs; the second has no weight for input 4.
        let mut weight = vec![0.5; 3 * 20];
        weight[20 + 4] = 0.0;
        let shape = ConvShape { window: Window::POINT, c_in: 20, c_out: 3, groups: 1 };
        let packed = PackedSpmm::for_kernel(kernel, shape, &weight).unwrap();
        let mut input = vec![1.0; 17 * 20];
        input[16 * 20 + 4] = f32::NAN;
        let mut out = vec![0.0; 17 * 3];
        let images = Images { n: 1, h: 1, w: 17 };
        let epilogue = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
        let (from, to) = (Channels::Last, Channels::Last);
        spmm(&Threads::single(), &input, images, from, &packed, &epilogue, to, &mut out).unwrap();
        assert!(out[..16 * 3].iter().all(|x| x.is_finite()), "{kernel:?}");
        assert_eq!(out[16 * 3..].iter().map(|x| x.is_nan()).collect::<Vec<_>>(), [true, false, true], "{kernel:?}");
    }
}

#[test]
fn nan_reaches_the_outputs_that_use_its_block() {
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)() && kernel.depth == 4) {
        // The blocks of 18 inputs begin at 0, 4, 8, 12 and 14. Each output uses one of them.
        let shape = ConvShape { window: Window::POINT, c_in: 18, c_out: 5, groups: 1 };
        let mut weight = vec![0.0; 5 * 18];
        (0..5).for_each(|output| weight[output * 18 + output * 4 + 1] = 0.5);
        let packed = PackedSpmm::for_kernel(kernel, shape, &weight).unwrap();
        for nan in 0..18 {
            let mut input = vec![1.0; 18];
            input[nan] = f32::NAN;
            let mut out = [0.0; 5];
            let images = Images { n: 1, h: 1, w: 1 };
            let (from, to) = (Channels::Last, Channels::Last);
            spmm(&Threads::single(), &input, images, from, &packed, &Epilogue::default(), to, &mut out).unwrap();
            let expected = [0, 4, 8, 12, 14].map(|first: usize| (first..first + 4).contains(&nan));
            assert_eq!(out.map(f32::is_nan), expected, "{kernel:?}: {nan}");
        }
    }
}

/// Steps that add nothing read the zeros after the slab, whatever was there before.
#[test]
fn nan_does_not_stay_in_memory() {
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)() && kernel.depth == 4) {
        for (window, value) in [(window, f32::NAN), (Window::POINT, 1.0), (window, 1.0)] {
            let shape = ConvShape { window, c_in: 40, c_out: 19, groups: 1 };
            let packed = PackedSpmm::for_kernel(kernel, shape, &sparse(&shape, 0.2, [1, 4], 7)).unwrap();
            let images = Images { n: 1, h: 9, w: 20 };
            let mut out = vec![0.0; 180 * 19];
            let (at, epilogue) = (Channels::First, Epilogue::default());
            spmm(&Threads::single(), &[value; 180 * 40], images, at, &packed, &epilogue, at, &mut out).unwrap();
            assert_eq!(out.iter().any(|x| x.is_nan()), value.is_nan(), "{kernel:?}");
        }
    }
}

#[test]
fn the_pattern_chooses_the_form() {
    let shape = ConvShape { window: Window::POINT, c_in: 64, c_out: 64, groups: 1 };
    let name = |block| PackedSpmm::conv(shape, &sparse(&shape, 0.1, [block, 1], 1), 1).unwrap().kernel_name();
    assert!(name(1).starts_with("spmm_f32_1x1_"), "{}", name(1));
    assert!(name(4).starts_with("spmm_f32_4x1_"), "{}", name(4));
}

#[test]
fn linear_reads_both_orders() {
    // Outputs are brought together 16 at a time.
    for (k, n) in [(5, 3), (1, 17), (17, 1), (40, 16), (110, 37), (300, 20)] {
        let weight: Vec<f32> = (0..k * n).map(|i| (i % 4) as f32).collect();
        let rows: Vec<f32> = (0..k * n).map(|i| weight[i % k * n + i / k]).collect();
        let x = noise(2 * k, 1);
        let run = |packed: PackedSpmm| {
            let mut out = vec![0.0; 2 * n];
            let images = Images { n: 1, h: 1, w: 2 };
            let (from, to) = (Channels::Last, Channels::Last);
            spmm(&Threads::single(), &x, images, from, &packed, &Epilogue::default(), to, &mut out).unwrap();
            out
        };
        let out = run(PackedSpmm::linear(&weight, k, n, false, 1).unwrap());
        assert_eq!(
            out,
            run(PackedSpmm::linear(&rows, k, n, true, usize::MAX).unwrap()),
            "packed for other numbers of pixels"
        );
        if k >= 4 {
            let out = run(PackedSpmm::linear_1x4(&weight, k, n, false).unwrap());
            assert_eq!(out, run(PackedSpmm::linear_1x4(&rows, k, n, true).unwrap()));
        }
        let expected: f32 = (0..k).map(|i| x[k + i] * weight[i * n + n - 1]).sum();
        assert!((out[2 * n - 1] - expected).abs() < 1e-4);
    }
}

/// Rows of pixels as long as the output's are loaded as one, those of a stride or another width in pieces; a vector of
/// narrow maps has more pieces than have a loop of their own.
#[test]
fn narrow_maps_are_gathered_in_pieces() {
    for (stride, pad, w) in [(1, 1, 7), (1, 0, 5), (2, 1, 14), (2, 1, 5), (3, 0, 8), (1, 2, 3), (2, 0, 3)] {
        let window = Window { kernel: [3, 3], stride: [stride; 2], dilation: [1, 1], pads: [pad; 4] };
        let shape = ConvShape { window, c_in: 19, c_out: 18, groups: 1 };
        check_all_kernels(shape, Images { n: 2, h: 13, w }, &sparse(&shape, 0.3, [1, 1], 5), 5);
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let shape = ConvShape { window: Window::POINT, c_in: 4, c_out: 6, groups: 1 };
    let packed = PackedSpmm::conv(shape, &[1.0; 24], 1).unwrap();
    assert_eq!(packed.nonzeros(), 24);
    assert!(PackedSpmm::conv(shape, &[1.0; 23], 1).is_err());
    assert!(PackedSpmm::conv(ConvShape { groups: 2, ..shape }, &[1.0; 12], 1).is_err());
    assert!(PackedSpmm::linear(&[1.0; 23], 4, 6, true, 1).is_err());
    let run = |input: usize, out: usize, bias: usize| {
        let (bias, images) = (vec![0.0; bias], Images { n: 1, h: 1, w: 2 });
        let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        let (from, to) = (Channels::Last, Channels::First);
        spmm(&Threads::single(), &vec![0.0; input], images, from, &packed, &epilogue, to, &mut vec![0.0; out])
    };
    assert!(run(8, 12, 6).is_ok());
    assert!(run(7, 12, 6).is_err() && run(8, 11, 6).is_err() && run(8, 12, 5).is_err());
}
