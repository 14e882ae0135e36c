//! Convolutions on pairs, forward and both ways back, held to products of rounded numbers in f64.

use super::bf16::{self, scratch_len_for, weight_gradient_for};
use super::input_bf16::{input_gradient_for, pack_for, packed_len_for};
use super::tests::{each_product, noise, out_len};
use crate::activation::{Activation, Epilogue};
use crate::bgemm::{self, pairs_len, round, widen};
use crate::conv::changing_bf16 as forward;
use crate::conv::{ConvShape, End, Images, Window, ends_in_pairs};
use crate::threads::Threads;
use proptest::prelude::*;

fn rounded(x: f32) -> f64 {
    f64::from(widen(round(x)))
}

/// Pairs of the numbers of each row.
fn pairs(x: &[f32], row: usize) -> Vec<f32> {
    let mut to = vec![f32::NAN; pairs_len(x.len(), row).unwrap()];
    bgemm::round_into(&Threads::single(), x, row, &mut to).unwrap();
    to
}

/// The numbers of pairs.
fn numbers(x: &[f32], row: usize) -> Vec<f32> {
    let mut to = vec![f32::NAN; x.len() / row.div_ceil(2) * row];
    bgemm::widen_into(&Threads::single(), x, row, &mut to).unwrap();
    to
}

/// `relative` is that of a rounding at the end.
fn assert_close(name: &str, what: &str, got: &[f32], expected: &[f64], terms: usize, relative: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (&x, &y)) in got.iter().zip(expected).enumerate() {
        let bound = 1e-6 * (terms as f64 + 10.0) * (1.0 + y.abs()) + relative * y.abs();
        assert!((f64::from(x) - y).abs() <= bound, "{name}: element {i} of {what} is {x}, expected {y}");
    }
}

const BITS: f64 = 1.0 / 256.0;

/// What a convolution or its gradient is called with.
struct Case<'a> {
    what: &'static str,
    /// The side that is read, `[pixels, channels]`, and its channels a group.
    from: &'a [f32],
    row: usize,
    /// Channels of the result.
    channels: usize,
    expected: Vec<f64>,
    terms: usize,
}

type Run<'a> = dyn Fn(&'static bgemm::Kernel, &Threads, &[f32], &Epilogue<'_>, End, &mut [f32]) + 'a;

/// Bias, residual and clamp are added here; all kernels, both ends, several threads.
fn check(case: Case<'_>, can_end_in_pairs: bool, seed: u64, run: &Run<'_>) {
    let Case { what, from, row, channels, expected, terms } = case;
    let (bias, residual) = (noise(channels, seed + 2), noise(expected.len(), seed + 3));
    let x = pairs(from, row);
    for kernel in bgemm::KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        for end in [End::F32, End::Pairs] {
            if end == End::Pairs && !can_end_in_pairs {
                continue;
            }
            let is_pairs = end == End::Pairs;
            let own = if is_pairs { pairs(&residual, channels) } else { residual.clone() };
            let exact = |i: usize| if is_pairs { rounded(residual[i]) } else { f64::from(residual[i]) };
            let expected: Vec<f64> = expected
                .iter()
                .enumerate()
                .map(|(i, sum)| (sum + f64::from(bias[i % channels]) + exact(i)).max(-0.5))
                .collect();
            let go = |n_threads| {
                let activation = Activation::Clip { min: -0.5, max: f32::INFINITY };
                let epilogue = Epilogue { bias: Some(&bias), residual: Some(&own), activation };
                let mut out = vec![f32::NAN; end.words(expected.len() / channels, channels).unwrap()];
                run(kernel, &Threads::new(n_threads), &x, &epilogue, end, &mut out);
                if is_pairs { numbers(&out, channels) } else { out }
            };
            let out = go(2);
            assert!(out == go(1) && out == go(3), "{}: threads change bytes of {what}", kernel.name);
            assert_close(kernel.name, what, &out, &expected, terms, if is_pairs { BITS } else { 0.0 });
        }
    }
}

fn check_all(shape: ConvShape, images: Images, seed: u64) {
    let input = noise(images.n * images.h * images.w * shape.c_in, seed);
    let d_out = noise(out_len(&shape, images), seed + 1);
    let weight = noise(shape.weight_len(), seed + 4);
    let mut out = vec![0.0; d_out.len()];
    let (mut d_input, mut d_weight) = (vec![0.0; input.len()], vec![0.0; weight.len()]);
    each_product(&shape, images, |x, w, o| {
        out[o] += rounded(input[x]) * rounded(weight[w]);
        d_input[x] += rounded(weight[w]) * rounded(d_out[o]);
        d_weight[w] += rounded(input[x]) * rounded(d_out[o]);
    });
    let (row, channels) = (shape.c_in / shape.groups, shape.c_out);
    let terms = shape.group_k();
    let case = Case { what: "out", from: &input, row, channels, expected: out, terms };
    check(case, ends_in_pairs(&shape, shape.c_in, shape.c_out), seed, &|kernel, threads, x, epilogue, end, out| {
        let mut packed = vec![f32::NAN; forward::packed_len_for(kernel, &shape).unwrap()];
        forward::pack_for(kernel, threads, &shape, &weight, &mut packed).unwrap();
        forward::conv_for(kernel, threads, x, images, &shape, &packed, epilogue, end, out).unwrap();
    });
    let (row, channels) = (shape.c_out / shape.groups, shape.c_in);
    let terms = row * shape.window.taps();
    let case = Case { what: "d_input", from: &d_out, row, channels, expected: d_input, terms };
    check(case, ends_in_pairs(&shape, shape.c_out, shape.c_in), seed, &|kernel, threads, x, epilogue, end, out| {
        let mut packed = vec![f32::NAN; packed_len_for(kernel, &shape).unwrap()];
        pack_for(kernel, threads, &shape, &weight, &mut packed).unwrap();
        input_gradient_for(kernel, threads, x, images, &shape, &packed, epilogue, end, out).unwrap();
    });
    let mut d_bias = vec![0.0f64; shape.c_out];
    d_out.iter().enumerate().for_each(|(i, &d)| d_bias[i % shape.c_out] += rounded(d));
    check_weight_gradient(shape, images, [&input, &d_out], [&d_weight, &d_bias]);
}

fn check_weight_gradient(shape: ConvShape, images: Images, [input, d_out]: [&[f32]; 2], expected: [&[f64]; 2]) {
    let (x, d) = (pairs(input, shape.c_in), pairs(d_out, shape.c_out));
    let terms = d_out.len() / shape.c_out;
    for kernel in bf16::KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let run = |n_threads| {
            let mut scratch = vec![f32::NAN; scratch_len_for(kernel, &shape, images).unwrap()];
            let (mut d_weight, mut d_bias) = (vec![f32::NAN; shape.weight_len()], vec![f32::NAN; shape.c_out]);
            let (threads, bias) = (Threads::new(n_threads), Some(&mut d_bias[..]));
            weight_gradient_for(kernel, &threads, &x, images, &shape, &d, &mut scratch, &mut d_weight, bias).unwrap();
            (d_weight, d_bias)
        };
        let (d_weight, d_bias) = run(2);
        assert!((&d_weight, &d_bias) == (&run(1).0, &run(3).1), "{}: threads change bytes", kernel.name);
        assert_close(kernel.name, "d_weight", &d_weight, expected[0], terms, 0.0);
        assert_close(kernel.name, "d_bias", &d_bias, expected[1], terms, 0.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolutions_on_pairs_agree_with_the_oracle(
        kernel in [1usize..4, 1usize..4], stride in [1usize..4, 1usize..4], dilation in [1usize..3, 1usize..3],
        pads in [0usize..4, 0usize..4, 0usize..4, 0usize..4],
        (groups, c_in, c_out) in (1usize..3, 1usize..36, 1usize..36),
        n in 0usize..3, h in 1usize..8, w in 1usize..12, seed in 0u64..1000,
    ) {
        let window = Window { kernel, stride, dilation, pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in: c_in * groups, c_out: c_out * groups, groups };
        prop_assume!(!shape.is_depthwise());
        // Pairs of pixels are those of all groups.
        prop_assume!(groups == 1 || c_in.is_multiple_of(2) && c_out.is_multiple_of(2));
        check_all(shape, Images { n, h, w }, seed);
    }
}

#[test]
fn layers_of_networks_agree_on_pairs() {
    let window =
        |size, stride| Window { kernel: [size; 2], stride: [stride; 2], dilation: [1, 1], pads: [size / 2; 4] };
    for (size, stride, c_in, c_out, groups, n, side) in [
        (3, 1, 3, 16, 1, 3, 32),
        (3, 1, 16, 16, 1, 3, 32),
        (3, 2, 16, 32, 1, 2, 32),
        (3, 1, 64, 64, 1, 9, 8),
        (1, 2, 32, 66, 1, 2, 9),
        (7, 2, 3, 64, 1, 1, 21),
        (1, 1, 600, 16, 1, 1, 7),
    ] {
        let shape = ConvShape { window: window(size, stride), c_in, c_out, groups };
        check_all(shape, Images { n, h: side, w: side }, 5);
    }
}

#[test]
fn what_has_no_pairs_is_an_error() {
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };
    let depthwise = ConvShape { window, c_in: 8, c_out: 8, groups: 8 };
    let images = Images { n: 1, h: 4, w: 4 };
    assert!(crate::conv::packed_pairs_len(&depthwise).is_err());
    assert!(super::input_gradient_packed_pairs_len(&depthwise).is_err());
    assert!(super::weight_gradient_pairs_scratch_len(&depthwise, images).is_err());
    let odd = ConvShape { window, c_in: 4, c_out: 3, groups: 1 };
    let packed = vec![0.0; crate::conv::packed_pairs_len(&odd).unwrap()];
    let (x, mut out, epilogue) = (vec![0.0; 32], vec![0.0; 32], Epilogue::default());
    let threads = Threads::single();
    assert!(crate::conv::conv_pairs(&threads, &x, images, &odd, &packed, &epilogue, End::Pairs, &mut out).is_err());
}
