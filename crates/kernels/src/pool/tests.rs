use super::*;
use proptest::prelude::*;

/// Loops over pixels; `-1e30` marks padding.
fn oracle(input: &[f32], images: Images, shape: &PoolShape) -> Vec<f32> {
    let (window, channels) = (shape.window, shape.channels);
    let [out_h, out_w] = shape.output_size(images.h, images.w).unwrap();
    let mut out = Vec::new();
    for at in 0..images.n * out_h * out_w * channels {
        let (channel, x, y) = (at % channels, at / channels % out_w, at / channels / out_w % out_h);
        let image = at / channels / out_w / out_h;
        let (mut largest, mut sum, mut inside, mut padded) = (f32::NEG_INFINITY, 0.0, 0, 0);
        for tap in 0..window.kernel[0] * window.kernel[1] {
            let row = y * window.stride[0] + tap / window.kernel[1] * window.dilation[0];
            let col = x * window.stride[1] + tap % window.kernel[1] * window.dilation[1];
            let within =
                row < images.h + window.pads[0] + window.pads[2] && col < images.w + window.pads[1] + window.pads[3];
            padded += usize::from(within);
            let (row, col) = (row.wrapping_sub(window.pads[0]), col.wrapping_sub(window.pads[1]));
            if row < images.h && col < images.w {
                let value = input[((image * images.h + row) * images.w + col) * channels + channel];
                largest = largest.max(value);
                sum += value;
                inside += 1;
            }
        }
        out.push(match shape.op {
            Pool::Max => largest,
            Pool::Average => sum / inside.max(1) as f32,
            Pool::AverageWithPads => sum / padded.max(1) as f32,
        });
    }
    out
}

proptest! {
    #[test]
    fn every_kernel_agrees_with_the_oracle(
        kernel in [1usize..4, 1usize..4], stride in [1usize..4, 1usize..4], dilation in [1usize..3, 1usize..3],
        pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3], channels in 1usize..40, n in 0usize..3, h in 1usize..8, w in 1usize..8,
        op in prop_oneof![Just(Pool::Max), Just(Pool::Average), Just(Pool::AverageWithPads)], is_ceil: bool,
    ) {
        let shape = PoolShape { window: Window { kernel, stride, dilation, pads }, channels, op, is_ceil };
        prop_assume!(shape.output_size(h, w).is_ok());
        let images = Images { n, h, w };
        let bytes: Vec<u8> = (0..n * h * w * channels).map(|i| (i * 89 % 251) as u8).collect();
        let input: Vec<f32> = bytes.iter().map(|&x| f32::from(x) - 128.0).collect();
        let expected = oracle(&input, images, &shape);
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut out = vec![f32::NAN; expected.len()];
            kernel.pool(&Threads::new(2), &input, images, &shape, &mut out).unwrap();
            for (i, (x, y)) in out.iter().zip(&expected).enumerate() {
                prop_assert!(x == y || (x - y).abs() < 1e-3, "{} {i}: {x} {y}", kernel.name);
            }
        }
        if op == Pool::Max {
            let signed: Vec<i8> = input.iter().map(|&x| x as i8).collect();
            let mut out = vec![0i8; expected.len()];
            max_pool_bytes(&Threads::new(2), Bytes::I8(&signed), images, &shape, &mut BytesMut::I8(&mut out)).unwrap();
            prop_assert!(out.iter().zip(&expected).all(|(&x, &y)| x == y as i8));
            let mut out = vec![0u8; expected.len()];
            max_pool_bytes(&Threads::new(2), Bytes::U8(&bytes), images, &shape, &mut BytesMut::U8(&mut out)).unwrap();
            prop_assert!(out.iter().zip(&expected).all(|(&x, &y)| x == (y + 128.0) as u8));
        }
    }
}

/// Loops over outputs, each of which gives its gradient away.
fn gradient_oracle(dy: &[f32], x: &[f32], images: Images, shape: &PoolShape) -> Vec<f64> {
    let (window, channels) = (shape.window, shape.channels);
    let [out_h, out_w] = shape.output_size(images.h, images.w).unwrap();
    let mut dx = vec![0.0f64; x.len()];
    for (at, &dy) in dy.iter().enumerate() {
        let (channel, col, row) = (at % channels, at / channels % out_w, at / channels / out_w % out_h);
        let image = at / channels / out_w / out_h;
        let mut taps = Vec::new();
        for tap in 0..window.kernel[0] * window.kernel[1] {
            let y = (row * window.stride[0] + tap / window.kernel[1] * window.dilation[0]).wrapping_sub(window.pads[0]);
            let x = (col * window.stride[1] + tap % window.kernel[1] * window.dilation[1]).wrapping_sub(window.pads[1]);
            if y < images.h && x < images.w {
                taps.push(((image * images.h + y) * images.w + x) * channels + channel);
            }
        }
        if shape.op == Pool::Max {
            let largest = taps.iter().fold(f32::NEG_INFINITY, |largest, &tap| largest.max(x[tap]));
            if let Some(&first) = taps.iter().find(|&&tap| x[tap] == largest) {
                dx[first] += f64::from(dy);
            }
        } else {
            let divisor = shape.divisor([row, col], [images.h, images.w]);
            taps.iter().for_each(|&tap| dx[tap] += f64::from(dy / divisor));
        }
    }
    dx
}

proptest! {
    #[test]
    fn gradients_agree_with_the_oracle(
        kernel in [1usize..4, 1usize..4], stride in [1usize..4, 1usize..4], dilation in [1usize..3, 1usize..3], is_tiled: bool,
        pads in [0usize..3, 0usize..3, 0usize..3, 0usize..3], channels in 1usize..80, n in 0usize..3, h in 1usize..8, w in 1usize..8,
        op in prop_oneof![Just(Pool::Max), Just(Pool::Average), Just(Pool::AverageWithPads)], is_ceil: bool,
    ) {
        let mut window = Window { kernel, stride, dilation, pads };
        if is_tiled {
            window = Window { kernel, stride: kernel, dilation: [1, 1], pads: [0; 4] };
        }
        let shape = PoolShape { window, channels, op, is_ceil };
        let size = shape.output_size(h, w);
        prop_assume!(size.is_ok());
        let [out_h, out_w] = size.unwrap();
        let images = Images { n, h, w };
        // Few values, so that there are many equal ones.
        let x: Vec<f32> = (0..n * h * w * channels).map(|i| (i * 89 % 251 / 40) as f32).collect();
        let dy: Vec<f32> = (0..n * out_h * out_w * channels).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
        let expected = gradient_oracle(&dy, &x, images, &shape);
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut y = vec![0.0; dy.len()];
            kernel.pool(&Threads::single(), &x, images, &shape, &mut y).unwrap();
            for y in [None, Some(&y[..])] {
                let forward = (op == Pool::Max).then_some(Forward { x: &x, y });
                let mut dx = vec![f32::NAN; x.len()];
                kernel.gradient(&Threads::new(2), &dy, forward, images, &shape, &mut dx).unwrap();
                for (i, (&dx, expected)) in dx.iter().zip(&expected).enumerate() {
                    prop_assert!((f64::from(dx) - expected).abs() < 1e-3, "{} {i}: {dx} {expected}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn a_global_average_gives_every_pixel_its_share() {
    let mut dx = [0.0; 12];
    global_average_gradient(&Threads::new(2), &[3.0, 6.0, 9.0, 12.0], [2, 3, 2], &mut dx).unwrap();
    assert_eq!(dx, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0]);
    assert!(global_average_gradient(&Threads::single(), &[3.0], [2, 3, 2], &mut dx).is_err());
    assert!(global_average_gradient(&Threads::single(), &[], [0, 3, 2], &mut []).is_ok());
    let shape = PoolShape { window: Window::POINT, channels: 1, op: Pool::Max, is_ceil: false };
    let images = Images { n: 1, h: 1, w: 1 };
    assert!(average_gradient(&Threads::single(), &[1.0], images, &shape, &mut [0.0]).is_err());
    let forward = Forward { x: &[1.0; 2], y: None };
    assert!(max_gradient(&Threads::single(), &[1.0], forward, images, &shape, &mut [0.0]).is_err());
}

#[test]
fn nan_wins_every_window_it_is_in() {
    let window = Window { kernel: [1, 3], stride: [1, 1], dilation: [1, 1], pads: [0; 4] };
    let shape = PoolShape { window, channels: 1, op: Pool::Max, is_ceil: false };
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        for at in 0..7 {
            let mut input = [1.0f32, 2.0, 3.0, 4.0, f32::INFINITY, 5.0, 6.0];
            input[at] = f32::NAN;
            let mut out = [0.0; 5];
            kernel.pool(&Threads::single(), &input, Images { n: 1, h: 1, w: 7 }, &shape, &mut out).unwrap();
            for (x, y) in out.iter().enumerate() {
                assert_eq!(y.is_nan(), (x..x + 3).contains(&at), "{} {at} {x}", kernel.name);
            }
        }
    }
}
