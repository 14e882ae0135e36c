use super::*;
use crate::Activation;
use crate::qconv::{PackedQConv, qconv};
use crate::qgemm::{Dequantize, QResidual, Requantize};
use crate::quantize::BytesMut;
use proptest::prelude::*;

const FORMS: [Form; 4] = [Form::Blocks, Form::Blocks4x1, Form::Gather, Form::TwoOfFour];

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    };
    (0..len).map(next).collect()
}

/// Weights of which a share of `density / 256` differs from `zero`.
fn sparse(len: usize, density: u32, zero: u8, seed: u64) -> Vec<u8> {
    let keep = noise(len, seed ^ 99);
    noise(len, seed).iter().zip(keep).map(|(&x, keep)| if u32::from(keep) < density { x } else { zero }).collect()
}

fn signed(x: &[u8]) -> Vec<i8> {
    x.iter().map(|&x| x as i8).collect()
}

#[derive(Debug, Clone)]
struct Case {
    shape: ConvShape,
    images: Images,
    density: u32,
    input_signed: bool,
    weight_signed: bool,
    zero: i32,
    n_threads: usize,
    seed: u64,
}

/// All variants and forms give what `qconv` gives, in all kinds of output.
fn check(case: &Case) {
    let Case { shape, images, density, input_signed, weight_signed, zero, n_threads, seed } = case.clone();
    let x = noise(images.n * images.h * images.w * shape.c_in, seed);
    let weight = sparse(shape.weight_len(), density, if weight_signed { 0 } else { 128 }, seed ^ 5);
    let (x8, weight8) = (signed(&x), signed(&weight));
    let (input, zero) = if input_signed { (Bytes::I8(&x8), zero - 128) } else { (Bytes::U8(&x), zero) };
    // Signed ones are often one for all, unsigned ones here one a channel, of which some are no zero of the weights.
    let zeros: Vec<i32> = match weight_signed {
        true => vec![0],
        false => (0..shape.c_out as i32).map(|channel| if channel % 5 == 4 { channel % 256 } else { 128 }).collect(),
    };
    let weight = if weight_signed { Bytes::I8(&weight8) } else { Bytes::U8(&weight) };
    let dense = PackedQConv::new(shape, weight, &zeros).unwrap();
    let [h, w] = shape.window.output_size(images.h, images.w).unwrap();
    let size = images.n * h * w * shape.c_out;
    let threads = Threads::new(n_threads);
    let bias: Vec<i32> = (0..shape.c_out as i32).map(|channel| (channel - 20) * 997).collect();
    let real_bias: Vec<f32> = bias.iter().map(|&bias| bias as f32 * 0.25).collect();
    // With large ones, what is before the clamp may leave i32.
    let scale = if seed % 5 == 0 { 0.3 } else { 1e-4 };
    let multipliers: Vec<f32> = (0..shape.c_out).map(|channel| scale * (1 + channel % 9) as f32).collect();
    let residual = noise(size, seed ^ 7);
    let signed_residual = signed(&residual);
    let reals: Vec<f32> = residual.iter().map(|&x| f32::from(x)).collect();
    let values = if input_signed { Bytes::I8(&signed_residual) } else { Bytes::U8(&residual) };
    let requantize = Requantize {
        multipliers: &multipliers,
        bias: Some(&bias),
        residual: (seed % 2 == 0).then_some(QResidual { values, zero_point: 3, multiplier: 0.37 }),
        zero_point: 5,
        clamp: [5, 250],
    };
    let dequantize = Dequantize {
        scales: &multipliers,
        bias: Some(&real_bias),
        residual: (seed % 2 == 0).then_some(&reals[..]),
        activation: if seed % 3 == 0 {
            Activation::Relu
        } else {
            Activation::Curve(crate::elementwise::Unary::Sigmoid)
        },
    };
    type Run<'a> = &'a dyn Fn(&mut Output<'_>);
    let all = |run: Run<'_>| {
        let (mut sums, mut reals) = (vec![-1; size], vec![f32::NAN; size]);
        let (mut bytes, mut signed_bytes) = (vec![1u8; size], vec![1i8; size]);
        run(&mut Output::I32(&mut sums));
        run(&mut Output::F32(dequantize, &mut reals));
        run(&mut Output::Bytes(requantize, BytesMut::U8(&mut bytes)));
        run(&mut Output::Bytes(requantize, BytesMut::I8(&mut signed_bytes)));
        (sums, reals.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bytes, signed_bytes)
    };
    let expected = all(&|out| qconv(&threads, input, zero, images, &dense, out).unwrap());
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        for form in FORMS {
            let packed = PackedQSpmm::for_kernel(kernel, shape, weight, false, &zeros, form).unwrap();
            let got = all(&|out| qspmm(&threads, input, zero, images, &packed, out).unwrap());
            assert!(got.0 == expected.0, "sums of {} {form:?} {case:?}", kernel.name);
            assert!(got == expected, "{} {form:?} {case:?}", kernel.name);
        }
    }
}

fn densities() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(13), Just(26), Just(51), Just(128), Just(256)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Pixels straddle the tiles (12, 16, 128), inputs the windows (16, 64) and the slab (256), outputs the blocks (64).
    #[test]
    fn products_are_those_of_the_dense_kernel(
        m in prop_oneof![0usize..30, 120usize..135], k in prop_oneof![0usize..70, 250usize..262, 500usize..520],
        n in prop_oneof![0usize..40, 60usize..70, 126usize..131], density in densities(),
        input_signed: bool, weight_signed: bool, zero in 0i32..256, n_threads in 1usize..4, seed in 0u64..1000,
    ) {
        let shape = ConvShape { window: Window::POINT, c_in: k, c_out: n, groups: 1 };
        let images = Images { n: 1, h: 1, w: m };
        prop_assume!(m > 0);
        check(&Case { shape, images, density, input_signed, weight_signed, zero, n_threads, seed });
    }

    #[test]
    fn convolutions_are_those_of_the_dense_kernel(
        kernel in [1usize..4, 1usize..4], stride in [1usize..3, 1usize..3], dilation in [1usize..3, 1usize..3],
        pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3],
        c_in in prop_oneof![1usize..9, Just(16), Just(64), 60usize..70], c_out in prop_oneof![1usize..20, 60usize..70],
        n in 0usize..3, h in 1usize..8, w in 1usize..20, density in densities(),
        input_signed: bool, weight_signed: bool, zero in 0i32..256, n_threads in 1usize..4, seed in 0u64..1000,
    ) {
        let window = Window { kernel, stride, dilation, pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in, c_out, groups: 1 };
        check(&Case { shape, images: Images { n, h, w }, density, input_signed, weight_signed, zero, n_threads, seed });
    }
}

#[test]
fn linear_layers_take_both_orders_of_weights() {
    let (m, k, n) = (3, 130, 70);
    let weight = signed(&sparse(k * n, 30, 0, 8));
    let transposed: Vec<i8> = (0..n * k).map(|at| weight[at % k * n + at / k]).collect();
    let input = noise(m * k, 4);
    for form in FORMS {
        let run = |weight: &[i8], is_transposed| {
            let packed = PackedQSpmm::linear(Bytes::I8(weight), k, n, is_transposed, &[], form).unwrap();
            assert_eq!(packed.nonzeros(), weight.iter().filter(|&&x| x != 0).count());
            let mut out = vec![0; m * n];
            let images = Images { n: 1, h: 1, w: m };
            qspmm(&Threads::single(), Bytes::U8(&input), 3, images, &packed, &mut Output::I32(&mut out)).unwrap();
            out
        };
        assert_eq!(run(&weight, false), run(&transposed, true));
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let shape = ConvShape { window: Window::POINT, c_in: 4, c_out: 2, groups: 1 };
    for form in FORMS {
        let pack = |shape, len: usize, zeros: &[i32]| PackedQSpmm::conv(shape, Bytes::I8(&vec![1; len]), zeros, form);
        assert!(pack(shape, 7, &[]).is_err());
        assert!(pack(shape, 8, &[0; 3]).is_err());
        assert!(pack(shape, 8, &[128]).is_err());
        assert!(pack(ConvShape { groups: 2, ..shape }, 4, &[]).is_err());
        let packed = pack(shape, 8, &[0, 1]).unwrap();
        let images = Images { n: 1, h: 1, w: 3 };
        let mut out = [0; 6];
        let mut run = |len: usize, zero, out_len: usize| {
            let mut output = Output::I32(&mut out[..out_len]);
            qspmm(&Threads::single(), Bytes::U8(&vec![1; len]), zero, images, &packed, &mut output)
        };
        assert!(run(12, 0, 6).is_ok());
        assert!(run(11, 0, 6).is_err());
        assert!(run(12, 256, 6).is_err());
        assert!(run(12, 0, 5).is_err());
    }
}
