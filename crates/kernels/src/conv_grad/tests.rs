use super::input::{input_gradient_for, pack_for, packed_len_for};
use super::weight::{scratch_len_for, weight_gradient_for};
use super::*;
use crate::activation::{Activation, Epilogue};
use crate::conv::changing::Kernels;
use crate::conv::{ConvShape, DEPTHWISE, Images, Window};
use crate::gemm;
use crate::threads::Threads;
use proptest::prelude::*;

pub(super) fn noise(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// Calls `visit(input, weight, out)` with the places of every product of a convolution.
pub(super) fn each_product(shape: &ConvShape, images: Images, mut visit: impl FnMut(usize, usize, usize)) {
    let Images { n, h, w } = images;
    let Window { kernel, stride, dilation, pads } = shape.window;
    let [out_h, out_w] = shape.window.output_size(h, w).unwrap();
    let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
    for at in 0..n * out_h * out_w * shape.c_out {
        let (o, x, y, image) = (
            at % shape.c_out,
            at / shape.c_out % out_w,
            at / shape.c_out / out_w % out_h,
            at / shape.c_out / out_w / out_h,
        );
        for tap in 0..kernel[0] * kernel[1] {
            let (ky, kx) = (tap / kernel[1], tap % kernel[1]);
            let row = (y * stride[0] + ky * dilation[0]).wrapping_sub(pads[0]);
            let col = (x * stride[1] + kx * dilation[1]).wrapping_sub(pads[1]);
            if row < h && col < w {
                for i in 0..c_in {
                    let input = ((image * h + row) * w + col) * shape.c_in + o / c_out * c_in + i;
                    visit(input, (o * c_in + i) * kernel[0] * kernel[1] + tap, at);
                }
            }
        }
    }
}

pub(super) fn out_len(shape: &ConvShape, images: Images) -> usize {
    let [out_h, out_w] = shape.window.output_size(images.h, images.w).unwrap();
    images.n * out_h * out_w * shape.c_out
}

fn assert_close(name: &str, what: &str, got: &[f32], expected: &[f64], terms: usize) {
    assert_eq!(got.len(), expected.len());
    for (i, (&x, &y)) in got.iter().zip(expected).enumerate() {
        let bound = 1e-6 * (terms as f64 + 10.0) * (1.0 + y.abs());
        assert!((f64::from(x) - y).abs() <= bound, "{name}: element {i} of {what} is {x}, expected {y}");
    }
}

fn check_weight_gradient(shape: ConvShape, images: Images, seed: u64) {
    let input = noise(images.n * images.h * images.w * shape.c_in, seed);
    let d_out = noise(out_len(&shape, images), seed + 1);
    let mut expected = vec![0.0f64; shape.weight_len()];
    each_product(&shape, images, |x, w, o| expected[w] += f64::from(input[x]) * f64::from(d_out[o]));
    let mut expected_bias = vec![0.0f64; shape.c_out];
    d_out.iter().enumerate().for_each(|(i, &d)| expected_bias[i % shape.c_out] += f64::from(d));
    let terms = d_out.len() / shape.c_out.max(1);
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let run = |n_threads| {
            let mut scratch = vec![f32::NAN; scratch_len_for(kernel, &shape, images).unwrap()];
            let (mut d_weight, mut d_bias) = (vec![f32::NAN; shape.weight_len()], vec![f32::NAN; shape.c_out]);
            let threads = Threads::new(n_threads);
            let bias = Some(&mut d_bias[..]);
            weight_gradient_for(kernel, &threads, &input, images, &shape, &d_out, &mut scratch, &mut d_weight, bias)
                .unwrap();
            (d_weight, d_bias)
        };
        let (d_weight, d_bias) = run(2);
        assert!((&d_weight, &d_bias) == (&run(1).0, &run(3).1), "{}: threads change bytes", kernel.name);
        assert_close(kernel.name, "d_weight", &d_weight, &expected, terms);
        assert_close(kernel.name, "d_bias", &d_bias, &expected_bias, terms);
    }
}

fn check_input_gradient(shape: ConvShape, images: Images, seed: u64) {
    let (weight, d_out) = (noise(shape.weight_len(), seed), noise(out_len(&shape, images), seed + 1));
    let n = images.n * images.h * images.w * shape.c_in;
    let (bias, residual) = (noise(shape.c_in, seed + 2), noise(n, seed + 3));
    let mut expected = vec![0.0f64; n];
    each_product(&shape, images, |x, w, o| expected[x] += f64::from(weight[w]) * f64::from(d_out[o]));
    for (i, sum) in expected.iter_mut().enumerate() {
        *sum = (*sum + f64::from(bias[i % shape.c_in]) + f64::from(residual[i])).max(-0.5);
    }
    let lists = gemm::KERNELS.iter().zip(DEPTHWISE).zip(KERNELS);
    for ((product, depthwise), kernel) in lists.filter(|(_, kernel)| (kernel.is_supported)()) {
        let kernels = Kernels { product, depthwise };
        let run = |n_threads| {
            let threads = Threads::new(n_threads);
            let mut packed = vec![f32::NAN; packed_len_for(kernels, &shape).unwrap()];
            pack_for(kernels, &threads, &shape, &weight, &mut packed).unwrap();
            let mut d_input = vec![f32::NAN; n];
            let activation = Activation::Clip { min: -0.5, max: f32::INFINITY };
            let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
            let kernels = (kernels, kernel);
            input_gradient_for(kernels, &threads, &d_out, images, &shape, &packed, &epilogue, &mut d_input).unwrap();
            d_input
        };
        let d_input = run(2);
        assert!(d_input == run(1) && d_input == run(3), "{}: threads change bytes", product.name);
        assert_close(product.name, "d_input", &d_input, &expected, shape.c_out * shape.window.taps());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn gradients_agree_with_the_oracle(
        kernel in [1usize..4, 1usize..4], stride in [1usize..4, 1usize..4], dilation in [1usize..3, 1usize..3],
        pads in [0usize..4, 0usize..4, 0usize..4, 0usize..4],
        (groups, c_in, c_out) in (1usize..4, 1usize..20, 1usize..36),
        n in 0usize..3, h in 1usize..8, w in 1usize..12, seed in 0u64..1000,
    ) {
        let window = Window { kernel, stride, dilation, pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in: c_in * groups, c_out: c_out * groups, groups };
        check_weight_gradient(shape, Images { n, h, w }, seed);
        check_input_gradient(shape, Images { n, h, w }, seed);
    }

    /// Channels straddle the vectors (8, 16) and the columns of a call (32, 64).
    #[test]
    fn depthwise_gradients_agree_with_the_oracle(
        size in 1usize..4, stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3,
        channels in prop_oneof![2usize..36, 62usize..68], h in 1usize..6, w in 1usize..12, seed in 0u64..1000,
    ) {
        let window = Window { kernel: [size; 2], stride: [stride; 2], dilation: [dilation; 2], pads: [pad; 4] };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in: channels, c_out: channels, groups: channels };
        check_weight_gradient(shape, Images { n: 2, h, w }, seed);
        check_input_gradient(shape, Images { n: 2, h, w }, seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Channels that fit in one vector on either side: windows three wide have forms of their own.
    #[test]
    fn gradients_of_few_channels_agree_with_the_oracle(
        kernel in 1usize..4, dilation in 1usize..3, pads in [0usize..3, 0usize..4, 0usize..3, 0usize..4],
        c_in in 1usize..17, c_out in 1usize..17, n in 1usize..3, h in 1usize..6, w in 1usize..36, seed in 0u64..1000,
    ) {
        let window = Window { kernel: [kernel, 3], stride: [1, 1], dilation: [dilation, 1], pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in, c_out, groups: 1 };
        check_weight_gradient(shape, Images { n, h, w }, seed);
        check_input_gradient(shape, Images { n, h, w }, seed);
    }
}

/// Layers with enough work for several parts and blocks.
#[test]
fn layers_of_networks_agree() {
    let window =
        |size: usize, stride| Window { kernel: [size; 2], stride: [stride; 2], dilation: [1; 2], pads: [size / 2; 4] };
    for (size, stride, c_in, c_out, groups, n, pixels) in [
        (3, 1, 3, 16, 1, 8, 16),
        (3, 1, 16, 16, 1, 4, 18),
        (3, 2, 16, 32, 1, 4, 16),
        (1, 1, 40, 70, 1, 3, 15),
        (5, 1, 1, 6, 1, 5, 28),
        (3, 1, 96, 96, 96, 4, 14),
        (3, 1, 32, 64, 4, 4, 14),
    ] {
        let shape = ConvShape { window: window(size, stride), c_in, c_out, groups };
        check_weight_gradient(shape, Images { n, h: pixels, w: pixels }, 5);
        check_input_gradient(shape, Images { n, h: pixels, w: pixels }, 6);
    }
}

#[test]
fn nan_reaches_the_sums_it_belongs_to_and_no_others() {
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };
    let shape = ConvShape { window, c_in: 16, c_out: 16, groups: 1 };
    let images = Images { n: 1, h: 4, w: 4 };
    let (mut input, mut d_out) = (vec![1.0; 256], vec![1.0; 256]);
    // The top left pixel is never under the last row and column of taps.
    input[0] = f32::NAN;
    d_out[16 + 5] = f32::INFINITY;
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let mut scratch = vec![0.0; scratch_len_for(kernel, &shape, images).unwrap()];
        let mut d_weight = vec![0.0; shape.weight_len()];
        let threads = Threads::single();
        weight_gradient_for(kernel, &threads, &input, images, &shape, &d_out, &mut scratch, &mut d_weight, None)
            .unwrap();
        for (i, &x) in d_weight.iter().enumerate() {
            let (tap, c, o) = (i % 9, i / 9 % 16, i / 144);
            let is_nan = c == 0 && tap / 3 < 2 && tap % 3 < 2;
            assert_eq!(x.is_nan(), is_nan, "{}: {i} is {x}", kernel.name);
            assert!(is_nan || x.is_infinite() == (o == 5 && tap / 3 > 0), "{}: {i} is {x}", kernel.name);
        }
    }
}

#[test]
fn wrong_lengths_are_errors() {
    let shape = ConvShape { window: Window { kernel: [3, 3], ..Window::POINT }, c_in: 4, c_out: 6, groups: 2 };
    let images = Images { n: 1, h: 3, w: 3 };
    let n_scratch = weight_gradient_scratch_len(&shape, images).unwrap();
    let run = |images, input: usize, d_out: usize, scratch: usize, d_weight: usize, d_bias: usize| {
        let (mut scratch, mut d_weight, mut d_bias) = (vec![0.0; scratch], vec![0.0; d_weight], vec![0.0; d_bias]);
        let (input, d_out) = (vec![0.0; input], vec![0.0; d_out]);
        let bias = Some(&mut d_bias[..]);
        conv_weight_gradient(&Threads::single(), &input, images, &shape, &d_out, &mut scratch, &mut d_weight, bias)
    };
    assert!(run(images, 36, 6, n_scratch, 108, 6).is_ok());
    assert!(run(images, 35, 6, n_scratch, 108, 6).is_err());
    assert!(run(images, 36, 5, n_scratch, 108, 6).is_err());
    assert!(run(images, 36, 6, n_scratch + 1, 108, 6).is_err());
    assert!(run(images, 36, 6, n_scratch, 107, 6).is_err());
    assert!(run(images, 36, 6, n_scratch, 108, 5).is_err());
    assert!(run(Images { h: 2, ..images }, 24, 0, 0, 108, 6).is_err(), "smaller than the window");
    let run = |d_out: usize, packed: usize, d_input: usize| {
        let (d_out, packed, mut d_input) = (vec![0.0; d_out], vec![0.0; packed], vec![0.0; d_input]);
        let epilogue = Epilogue::default();
        conv_input_gradient(&Threads::single(), &d_out, images, &shape, &packed, &epilogue, &mut d_input)
    };
    let n_packed = input_gradient_packed_len(&shape).unwrap();
    assert!(run(6, n_packed, 36).is_ok());
    assert!(run(5, n_packed, 36).is_err());
    assert!(run(6, n_packed + 1, 36).is_err());
    assert!(run(6, n_packed, 35).is_err());
    assert!(weight_gradient_scratch_len(&ConvShape { groups: 3, ..shape }, images).is_err());
}
