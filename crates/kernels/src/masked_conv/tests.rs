use super::*;
use crate::conv::Window;
use proptest::prelude::*;

/// In -1..1, of which a share of `density` is not 0.
fn noise(len: usize, density: f64, seed: u64) -> Vec<f32> {
    let random = |at: usize| {
        let mut x = (at as u64 + (seed << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ x >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x ^ x >> 32) as u32 as f64 / f64::from(u32::MAX)
    };
    (0..len).map(|i| if random(i) < density { 2.0 * random(len + i) as f32 - 1.0 } else { 0.0 }).collect()
}

/// Calls `each` with the input, the weight and the output of every product there is.
fn products(shape: &ConvShape, images: Images, mut each: impl FnMut(usize, usize, usize)) {
    let Window { kernel, stride, dilation, pads } = shape.window;
    let [h, w] = shape.window.output_size(images.h, images.w).unwrap();
    for pixel in 0..images.n * h * w {
        let (image, y, x) = (pixel / (h * w), pixel / w % h, pixel % w);
        for (down, right) in (0..kernel[0]).flat_map(|down| (0..kernel[1]).map(move |right| (down, right))) {
            let y = (y * stride[0] + down * dilation[0]).wrapping_sub(pads[0]);
            let x = (x * stride[1] + right * dilation[1]).wrapping_sub(pads[1]);
            if y >= images.h || x >= images.w {
                continue;
            }
            for (o, c) in (0..shape.c_out).flat_map(|o| (0..shape.c_in).map(move |c| (o, c))) {
                let input = ((image * images.h + y) * images.w + x) * shape.c_in + c;
                let weight = ((o * shape.c_in + c) * kernel[0] + down) * kernel[1] + right;
                each(input, weight, pixel * shape.c_out + o);
            }
        }
    }
}

fn assert_near(kernel: &Kernel, got: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let is_near = (f64::from(*got) - expected).abs() < 1e-4 * expected.abs().max(10.0);
        prop_assert!(is_near, "{} {i}: {got} {expected}", kernel.name);
    }
    Ok(())
}

prop_compose! {
    fn windows()(kernel in [1usize..4, 1..4], stride in [1usize..4, 1..4], dilation in [1usize..4, 1..4],
        pads in [0usize..3, 0..3, 0..3, 0..3]) -> Window {
        Window { kernel, stride, dilation, pads }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_kernel_agrees_with_the_oracle(
        window in windows(),
        (n, h, w) in (0usize..19, 1usize..12, 1usize..12),
        (c_in, c_out) in (1usize..36, 1usize..36),
        density in prop_oneof![Just(0.0), 0.0f64..0.4, Just(1.0)],
        seed in 0u64..99,
        is_clipped: bool,
    ) {
        let (images, shape) = (Images { n, h, w }, ConvShape { window, c_in, c_out, groups: 1 });
        prop_assume!(window.output_size(h, w).is_ok());
        let [out_h, out_w] = window.output_size(h, w).unwrap();
        let weight = noise(shape.weight_len(), density, seed);
        let x = noise(n * h * w * c_in, 1.0, seed + 1);
        let dy = noise(n * out_h * out_w * c_out, 1.0, seed + 2);
        let (bias, residual) = (noise(c_out, 1.0, seed + 3), noise(dy.len(), 1.0, seed + 4));
        let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; weight.len()]);
        products(&shape, images, |i, at, o| {
            y[o] += f64::from(x[i]) * f64::from(weight[at]);
            dx[i] += f64::from(dy[o]) * f64::from(weight[at]);
            dw[at] += f64::from(x[i]) * f64::from(dy[o]);
        });
        for (i, y) in y.iter_mut().enumerate() {
            *y += f64::from(bias[i % c_out]) + f64::from(residual[i]);
            if is_clipped {
                *y = y.clamp(-1.0, 1.0);
            }
        }
        dw.iter_mut().zip(&weight).for_each(|(dw, &weight)| *dw *= f64::from(weight));
        let (threads, none) = (&Threads::new(2), &Epilogue::default());
        let activation = if is_clipped { Activation::Clip { min: -1.0, max: 1.0 } } else { Activation::None };
        let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut out = vec![f32::NAN; y.len()];
            kernel.conv(threads, &x, images, &shape, &weight, &epilogue, &mut out).unwrap();
            assert_near(kernel, &out, &y)?;
            let mut out = vec![f32::NAN; x.len()];
            kernel.input_gradient(threads, &dy, images, &shape, &weight, none, &mut out).unwrap();
            assert_near(kernel, &out, &dx)?;
            let mut out = vec![f32::NAN; weight.len()];
            kernel.weight_gradient(threads, &x, images, &shape, &dy, &weight, &mut out).unwrap();
            assert_near(kernel, &out, &dw)?;
        }
    }
}

const WINDOW: Window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for (n, size, stride) in [(40, 9, 1), (7, 16, 2)] {
        let (images, window) = (Images { n, h: size, w: size }, Window { stride: [stride; 2], ..WINDOW });
        let shape = ConvShape { window, c_in: 20, c_out: 17, groups: 1 };
        let [h, w] = window.output_size(size, size).unwrap();
        let weight = noise(shape.weight_len(), 0.2, 1);
        let (x, dy) = (noise(n * size * size * 20, 1.0, 2), noise(n * h * w * 17, 1.0, 3));
        let all = [1, 2, 4].map(|n_threads| {
            let (threads, none) = (&Threads::new(n_threads), &Epilogue::default());
            let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; weight.len()]);
            conv(threads, &x, images, &shape, &weight, none, &mut y).unwrap();
            input_gradient(threads, &dy, images, &shape, &weight, none, &mut dx).unwrap();
            weight_gradient(threads, &x, images, &shape, &dy, &weight, &mut dw).unwrap();
            (y, dx, dw)
        });
        assert!(all[1..].iter().all(|results| *results == all[0]));
    }
}

#[test]
fn curves_are_applied_and_nan_reaches_what_has_a_weight_for_it() {
    let (images, shape) = (Images { n: 2, h: 3, w: 3 }, ConvShape { window: WINDOW, c_in: 2, c_out: 2, groups: 1 });
    let mut weight = [0.0; 36];
    weight[4] = 1.0; // Output 0, input 0, the middle.
    weight[18 + 9 + 4] = 2.0; // Output 1, input 1, the middle.
    let mut x = [1.0; 36];
    x[0] = f32::NAN;
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let activation = Activation::Curve(crate::elementwise::Unary::Exp);
        let mut out = [0.0; 36];
        let epilogue = Epilogue { activation, ..Epilogue::default() };
        kernel.conv(&Threads::single(), &x, images, &shape, &weight, &epilogue, &mut out).unwrap();
        assert!(out[0].is_nan(), "{}", kernel.name);
        assert!((out[1] - 2.0f32.exp()).abs() < 1e-5 && (out[2] - 1.0f32.exp()).abs() < 1e-5, "{}", kernel.name);
        assert_eq!(out.iter().filter(|value| value.is_nan()).count(), 1, "{}", kernel.name);
    }
}

#[test]
fn wrong_lengths_and_groups_are_errors() {
    let (threads, none, images) = (&Threads::single(), &Epilogue::default(), Images { n: 1, h: 3, w: 3 });
    let shape = ConvShape { window: WINDOW, c_in: 2, c_out: 2, groups: 1 };
    let (x, weight, mut out) = ([0.0; 18], [0.0; 36], [0.0; 18]);
    assert!(conv(threads, &x, images, &shape, &weight, none, &mut out).is_ok());
    assert!(conv(threads, &x[1..], images, &shape, &weight, none, &mut out).is_err());
    assert!(conv(threads, &x, images, &shape, &weight[1..], none, &mut out).is_err());
    assert!(conv(threads, &x, images, &shape, &weight, none, &mut out[1..]).is_err());
    assert!(input_gradient(threads, &x[1..], images, &shape, &weight, none, &mut out).is_err());
    assert!(weight_gradient(threads, &x, images, &shape, &x, &weight, &mut [0.0; 35]).is_err());
    let grouped = ConvShape { groups: 2, ..shape };
    assert!(conv(threads, &x, images, &grouped, &weight[18..], none, &mut out).is_err());
}

#[test]
fn zeros_pay_where_there_are_many_channels_and_images() {
    let images = Images { n: 128, h: 32, w: 32 };
    let of = |c_in: usize, c_out: usize| ConvShape { window: WINDOW, c_in, c_out, groups: 1 };
    let (wide, narrow, first) = (of(64, 64), of(16, 16), of(3, 64));
    assert!(is_faster(&wide, images, wide.weight_len() / 2) && !is_faster(&wide, images, wide.weight_len()));
    assert!(is_faster(&narrow, images, narrow.weight_len() / 10));
    assert!(!is_faster(&first, images, 0), "transposing takes longer than the product");
    assert!(!is_faster(&wide, Images { n: 1, ..images }, 0), "one image in sixteen lanes");
    assert!(!is_faster(&ConvShape { groups: 2, ..wide }, images, 0));
    assert_eq!(nonzeros(&[0.0, -0.0, 1.0, f32::NAN]), 2);
}
