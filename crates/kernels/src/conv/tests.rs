use super::*;
use crate::activation::Activation;
use crate::elementwise::Unary;
use proptest::prelude::*;

fn noise(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// Seven loops in f64.
fn oracle(input: &[f32], images: Images, weight: &[f32], shape: &ConvShape) -> Vec<f64> {
    let Images { n, h, w } = images;
    let Window { kernel, stride, dilation, pads } = shape.window;
    let [out_h, out_w] = shape.window.output_size(h, w).unwrap();
    let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
    let mut out = Vec::new();
    for (image, y, x, o) in itertools(n, out_h, out_w, shape.c_out) {
        let mut sum = 0.0;
        for (ky, kx, i, _) in itertools(kernel[0], kernel[1], c_in, 1) {
            let row = (y * stride[0] + ky * dilation[0]).wrapping_sub(pads[0]);
            let col = (x * stride[1] + kx * dilation[1]).wrapping_sub(pads[1]);
            if row < h && col < w {
                let a = input[((image * h + row) * w + col) * shape.c_in + o / c_out * c_in + i];
                let b = weight[((o * c_in + i) * kernel[0] + ky) * kernel[1] + kx];
                sum += f64::from(a) * f64::from(b);
            }
        }
        out.push(sum);
    }
    out
}

fn itertools(a: usize, b: usize, c: usize, d: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).flat_map(move |k| (0..d).map(move |l| (i, j, k, l)))))
}

fn check_all_kernels(shape: ConvShape, images: Images, seed: u64) {
    let input = noise(images.n * images.h * images.w * shape.c_in, seed);
    let weight = noise(shape.weight_len(), seed + 1);
    let mut expected = oracle(&input, images, &weight, &shape);
    let (bias, residual) = (noise(shape.c_out, seed + 2), noise(expected.len(), seed + 3));
    for (i, sum) in expected.iter_mut().enumerate() {
        *sum = (*sum + f64::from(bias[i % shape.c_out]) + f64::from(residual[i])).max(0.0);
        *sum *= *sum;
    }
    for product in gemm::KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        for depthwise in DEPTHWISE.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = PackedConv::for_kernels(product, depthwise, shape, &weight).unwrap();
            assert!(packed.unpacked().is_none_or(|unpacked| unpacked == weight));
            let run = |n_threads, activation| {
                let mut out = vec![f32::NAN; expected.len()];
                let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
                conv(&Threads::new(n_threads), &input, images, &packed, &epilogue, &mut out).unwrap();
                out
            };
            let out = run(2, Activation::Relu);
            assert_eq!(
                out,
                run_changing(
                    changing::Kernels { product, depthwise },
                    &shape,
                    images,
                    [&input, &weight, &bias, &residual]
                )
            );
            assert_eq!(out, run(1, Activation::Relu), "{} threads change bytes", packed.kernel_name());
            for (i, (&x, &y)) in out.iter().zip(&expected).enumerate() {
                let x = f64::from(x) * f64::from(x);
                assert!(
                    (x - y).abs() <= 1e-3 * (1.0 + y),
                    "{}: element {i} is {x}, expected {y}",
                    packed.kernel_name()
                );
            }
            let curved = run(2, Activation::Curve(Unary::Relu));
            assert_eq!(out, curved, "{} curve", packed.kernel_name());
        }
    }
}

/// The same with a weight packed into memory that held something else.
fn run_changing(kernels: changing::Kernels, shape: &ConvShape, images: Images, values: [&[f32]; 4]) -> Vec<f32> {
    let [input, weight, bias, residual] = values;
    let threads = Threads::new(2);
    let mut packed = vec![f32::NAN; changing::packed_len_for(kernels, shape).unwrap()];
    changing::pack_for(kernels, &threads, shape, weight, &mut packed).unwrap();
    let mut out = vec![f32::NAN; residual.len()];
    let epilogue = Epilogue { bias: Some(bias), residual: Some(residual), activation: Activation::Relu };
    changing::conv_for(kernels, &threads, input, images, shape, &packed, &epilogue, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_kernel_agrees_with_the_oracle(
        kernel in [1usize..4, 1usize..4], stride in [1usize..3, 1usize..3], dilation in [1usize..3, 1usize..3],
        pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3],
        (groups, c_in, c_out) in (1usize..4, 1usize..9, 1usize..12),
        n in 0usize..3, h in 1usize..8, w in 1usize..20, seed in 0u64..1000,
    ) {
        let window = Window { kernel, stride, dilation, pads };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in: c_in * groups, c_out: c_out * groups, groups };
        check_all_kernels(shape, Images { n, h, w }, seed);
    }

    /// Channels straddle the vectors (8, 16), widths the block of outputs.
    #[test]
    fn depthwise_agrees_with_the_oracle(
        size in 1usize..4, stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3,
        channels in 2usize..36, h in 1usize..6, w in 1usize..24, seed in 0u64..1000,
    ) {
        let window = Window { kernel: [size; 2], stride: [stride; 2], dilation: [dilation; 2], pads: [pad; 4] };
        prop_assume!(window.output_size(h, w).is_ok());
        let shape = ConvShape { window, c_in: channels, c_out: channels, groups: channels };
        check_all_kernels(shape, Images { n: 1, h, w }, seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Outputs that fit in one vector; widths straddle the strips of 16, 8, 4, 2 and 1, and images are narrower than the window.
    #[test]
    fn windows_three_wide_into_few_channels_agree_with_the_oracle(
        kernel in 1usize..5, dilation in 1usize..3, pads in [0usize..3, 0usize..2, 0usize..3, 0usize..2],
        c_in in 1usize..20, c_out in 1usize..17, n in 1usize..3, h in 1usize..6, w in 1usize..40, seed in 0u64..1000,
    ) {
        let window = Window { kernel: [kernel, 3], stride: [1, 1], dilation: [dilation, 1], pads };
        prop_assume!(window.output_size(h, w).is_ok());
        check_all_kernels(ConvShape { window, c_in, c_out, groups: 1 }, Images { n, h, w }, seed);
    }
}

#[test]
fn deep_windows_cross_the_blocks_of_k() {
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };
    check_all_kernels(ConvShape { window, c_in: 61, c_out: 33, groups: 1 }, Images { n: 2, h: 5, w: 6 }, 3);
    let window = Window { kernel: [7, 7], stride: [2, 2], dilation: [1, 1], pads: [3; 4] };
    check_all_kernels(ConvShape { window, c_in: 3, c_out: 64, groups: 1 }, Images { n: 1, h: 19, w: 33 }, 4);
}

#[test]
fn impossible_shapes_are_errors() {
    let shape = ConvShape { window: Window { kernel: [3, 3], ..Window::POINT }, c_in: 4, c_out: 6, groups: 2 };
    let weight = vec![0.0; shape.weight_len()];
    let packed = PackedConv::new(shape, &weight).unwrap();
    assert!(PackedConv::new(shape, &weight[1..]).is_err());
    assert!(PackedConv::new(ConvShape { groups: 3, ..shape }, &weight).is_err());
    assert!(PackedConv::new(ConvShape { groups: 0, ..shape }, &weight).is_err());
    let run = |h, w, input: usize, out: usize| {
        let epilogue = Epilogue::default();
        conv(&Threads::single(), &vec![0.0; input], Images { n: 1, h, w }, &packed, &epilogue, &mut vec![0.0; out])
    };
    assert!(run(3, 3, 36, 6).is_ok());
    assert!(run(2, 3, 24, 6).is_err(), "smaller than the window");
    assert!(run(3, 3, 35, 6).is_err());
    assert!(run(3, 3, 36, 7).is_err());

    let mut packed = vec![0.0; packed_len(&shape).unwrap()];
    let (threads, images) = (Threads::single(), Images { n: 1, h: 3, w: 3 });
    assert!(pack_into(&threads, &shape, &weight, &mut packed).is_ok());
    assert!(pack_into(&threads, &shape, &weight[1..], &mut packed).is_err());
    assert!(pack_into(&threads, &shape, &weight, &mut packed[1..]).is_err());
    let run = |packed| conv_packed(&threads, &[0.0; 36], images, &shape, packed, &Epilogue::default(), &mut [0.0; 6]);
    assert!(run(&packed).is_ok());
    assert!(run(&packed[1..]).is_err());
}
