use super::*;
use crate::conv::Window;
use crate::qgemm::{KERNELS, QResidual, Requantize};
use crate::quantize::BytesMut;
use proptest::prelude::*;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(40_503)) >> 7) as u8).collect()
}

/// Loops over plain integers; what lies outside of the image adds nothing.
fn oracle(input: &[i32], images: Images, weight: &[i32], shape: &ConvShape) -> Vec<i32> {
    let Images { n, h, w } = images;
    let Window { kernel, stride, dilation, pads } = shape.window;
    let [out_h, out_w] = shape.window.output_size(h, w).unwrap();
    let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
    let mut out = Vec::new();
    for at in 0..n * out_h * out_w * shape.c_out {
        let (o, x, y) = (at % shape.c_out, at / shape.c_out % out_w, at / shape.c_out / out_w % out_h);
        let image = at / shape.c_out / out_w / out_h;
        let mut sum = 0;
        for tap in 0..kernel[0] * kernel[1] {
            let (ky, kx) = (tap / kernel[1], tap % kernel[1]);
            let row = (y * stride[0] + ky * dilation[0]).wrapping_sub(pads[0]);
            let col = (x * stride[1] + kx * dilation[1]).wrapping_sub(pads[1]);
            if row < h && col < w {
                for i in 0..c_in {
                    let a = input[((image * h + row) * w + col) * shape.c_in + o / c_out * c_in + i];
                    sum += a * weight[((o * c_in + i) * kernel[0] + ky) * kernel[1] + kx];
                }
            }
        }
        out.push(sum);
    }
    out
}

/// With weights whose zero points leave i8, and with signed ones that have none.
fn check_all_kernels(shape: ConvShape, images: Images, is_signed: bool, zero: i32, seed: u64) {
    check(shape, images, is_signed, zero, seed, false);
    check(shape, images, is_signed, zero, seed, true);
}

fn check(shape: ConvShape, images: Images, is_signed: bool, zero: i32, seed: u64, has_small_weights: bool) {
    let input = noise(images.n * images.h * images.w * shape.c_in, seed);
    let signed: Vec<i8> = input.iter().map(|&x| x as i8).collect();
    let weight = noise(shape.weight_len(), seed ^ 77);
    let signed_weight: Vec<i8> = weight.iter().map(|&x| x as i8).collect();
    let mut zeros: Vec<i32> = (0..shape.c_out as i32).map(|channel| 128 - channel % 3 * 20).collect();
    let (bytes, zero) = if is_signed { (Bytes::I8(&signed), zero - 128) } else { (Bytes::U8(&input), zero) };
    let values: Vec<i32> = match bytes {
        Bytes::U8(x) => x.iter().map(|&x| i32::from(x) - zero).collect(),
        Bytes::I8(x) => x.iter().map(|&x| i32::from(x) - zero).collect(),
    };
    let filter = (shape.weight_len() / shape.c_out).max(1);
    let (weight, weights): (_, Vec<i32>) = if has_small_weights {
        zeros.clear();
        (Bytes::I8(&signed_weight), signed_weight.iter().map(|&x| x.into()).collect())
    } else {
        let values = weight.iter().enumerate().map(|(i, &x)| i32::from(x) - zeros[i / filter]);
        (Bytes::U8(&weight), values.collect())
    };
    let expected = oracle(&values, images, &weights, &shape);
    let bias: Vec<i32> = (0..shape.c_out as i32).map(|channel| channel * 100).collect();
    let added: Vec<i8> = noise(expected.len(), seed ^ 3).iter().map(|&x| x as i8).collect();
    let mut first = None;
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let packed = PackedQConv::for_kernel(kernel, shape, weight, &zeros).unwrap();
        let mut out = vec![-1; expected.len()];
        qconv(&Threads::new(2), bytes, zero, images, &packed, &mut Output::I32(&mut out)).unwrap();
        assert!(out == expected, "{} {shape:?}", kernel.name);

        let mut small = vec![0u8; expected.len()];
        let other = QResidual { values: Bytes::I8(&added), zero_point: -3, multiplier: 0.6 };
        let residual = seed.is_multiple_of(2).then_some(other);
        let requantize =
            Requantize { multipliers: &[1e-3], bias: Some(&bias), residual, zero_point: 9, clamp: [9, 240] };
        let mut output = Output::Bytes(requantize, BytesMut::U8(&mut small));
        qconv(&Threads::new(2), bytes, zero, images, &packed, &mut output).unwrap();
        for (i, (&x, &sum)) in small.iter().zip(&expected).enumerate() {
            let mut real = (sum + bias[i % shape.c_out]) as f32 * 1e-3;
            if residual.is_some() {
                real += (i32::from(added[i]) + 3) as f32 * 0.6;
            }
            assert_eq!(i32::from(x), (real.round_ties_even() as i32 + 9).clamp(9, 240), "{} {i}", kernel.name);
        }
        assert!(first.get_or_insert_with(|| small.clone()) == &small, "{} has other bytes", kernel.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_kernel_gives_the_sums_of_the_oracle(
        kernel in [1usize..4, 1usize..4], stride in [1usize..3, 1usize..3], dilation in [1usize..3, 1usize..3],
        pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3],
        (groups, c_in, c_out) in (1usize..4, 1usize..9, 1usize..12),
        n in 0usize..3, h in 1usize..8, w in 1usize..20, is_signed: bool, zero in 0i32..256, seed in 0u64..1000,
    ) {
        let window = Window { kernel, stride, dilation, pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in: c_in * groups, c_out: c_out * groups, groups };
        check_all_kernels(shape, Images { n, h, w }, is_signed, zero, seed);
    }

    #[test]
    fn depthwise_gives_the_sums_of_the_oracle(
        size in 1usize..6, stride in 1usize..3, dilation in 1usize..3, pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3],
        channels in prop_oneof![2usize..70, 120usize..140], n in 1usize..3, h in 1usize..9, w in 1usize..15,
        is_signed: bool, zero in 0i32..256, seed in 0u64..1000,
    ) {
        let window = Window { kernel: [size; 2], stride: [stride; 2], dilation: [dilation; 2], pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in: channels, c_out: channels, groups: channels };
        check_all_kernels(shape, Images { n, h, w }, is_signed, zero, seed);
    }
}

#[test]
fn deep_windows_cross_the_blocks_of_k() {
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };
    check_all_kernels(ConvShape { window, c_in: 230, c_out: 33, groups: 1 }, Images { n: 1, h: 5, w: 6 }, true, 3, 3);
}
