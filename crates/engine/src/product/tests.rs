//! Every form against the plain one, on layers with many zeros.

use std::collections::BTreeSet;

use lissom_kernels::conv::{Channels, ConvShape, Images, Window};
use lissom_kernels::qgemm::{Dequantize, Output};
use lissom_kernels::quantize::Bytes;
use lissom_kernels::{Activation, Epilogue, Threads};

use super::{Call, FORMS, FloatLayer, INTEGER_FORMS, IntegerLayer, Order, Traits, Zeros, point, rows};

/// Numbers that look random and are the same in every run.
fn noise(len: usize, seed: usize) -> impl Iterator<Item = u32> {
    (0..len).map(move |i| (((i + seed * 7919 + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u32)
}

fn layers() -> Vec<(ConvShape, Images, Order)> {
    let window =
        |kernel, stride, pad| Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], pads: [pad; 4] };
    let conv =
        |kernel, stride, pad, c_in, c_out| ConvShape { window: window(kernel, stride, pad), c_in, c_out, groups: 1 };
    vec![
        (conv(3, 1, 1, 16, 24), Images { n: 2, h: 9, w: 7 }, Order::Filters),
        (conv(3, 2, 1, 20, 33), Images { n: 1, h: 14, w: 14 }, Order::Filters),
        (conv(1, 1, 0, 64, 64), Images { n: 1, h: 7, w: 7 }, Order::Filters),
        (point(100, 70), rows(37), Order::Columns),
        (point(100, 70), rows(1), Order::Columns),
        (point(300, 10), rows(3), Order::Filters),
    ]
}

/// Which weights are kept, by output, input and tap: a fifth of any, of blocks of 1x4 and of 4x1, and two of four.
const PATTERNS: [fn([usize; 3]) -> bool; 4] = [
    |at| is_fifth(at),
    |[output, input, tap]| is_fifth([output, input / 4, tap]),
    |[output, input, tap]| is_fifth([output / 4, input, tap]),
    |[output, input, tap]| {
        let pair = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]][(output * 5 + input / 4 * 7 + tap) % 6];
        pair.contains(&(input % 4))
    },
];

fn is_fifth([output, input, tap]: [usize; 3]) -> bool {
    noise(1, (output * 1000 + input) * 10 + tap).all(|x| x % 5 == 0)
}

/// Positions of a weight that `pattern` keeps, of all positions.
fn kept(shape: &ConvShape, order: Order, pattern: fn([usize; 3]) -> bool) -> Vec<bool> {
    let taps = shape.window.kernel[0] * shape.window.kernel[1];
    let place = |at: usize| match order {
        Order::Filters => [at / taps / shape.c_in, at / taps % shape.c_in, at % taps],
        Order::Columns => [at % shape.c_out, at / shape.c_out, 0],
    };
    (0..shape.weight_len()).map(|at| pattern(place(at))).collect()
}

fn traits(shape: ConvShape, images: Images, zeros: Zeros, is_integer: bool) -> Traits {
    Traits { shape, images, zeros, is_integer, may_round: false }
}

#[test]
fn every_float_form_gives_what_the_dense_one_gives() {
    let mut seen = BTreeSet::new();
    for ((shape, images, order), pattern) in
        layers().into_iter().flat_map(|layer| PATTERNS.map(|pattern| (layer, pattern)))
    {
        let kept = kept(&shape, order, pattern);
        let weight = noise(kept.len(), 1).zip(kept).map(|(x, kept)| if kept { x as f32 / 8e6 - 1.0 } else { 0.0 });
        let weight: Vec<f32> = weight.collect();
        let zeros = Zeros::count(&shape, order, &weight, |value, _| value == 0.0);
        let traits = Traits { may_round: true, ..traits(shape, images, zeros, false) };
        let (x_len, out_len) = traits.lengths();
        let x: Vec<f32> = noise(x_len, 2).map(|x| x as f32 / 8e6 - 1.0).collect();
        let bias: Vec<f32> = noise(shape.c_out, 3).map(|x| x as f32 / 1e7).collect();
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        let mut dense: Option<Vec<f32>> = None;
        for form in FORMS.iter().filter(|form| (form.fits)(&traits)) {
            seen.insert(form.name);
            let packed = (form.pack)(&FloatLayer { shape, order, weight: &weight, rows: traits.m() }).unwrap();
            assert!((form.cost)(&traits) > 0.0 && packed.size_bytes() > 0);
            let mut expected: Option<Vec<f32>> = None;
            for n_threads in [1, 2, 4] {
                let threads = &Threads::new(n_threads);
                let (from, to) = (Channels::Last, Channels::Last);
                let mut out = vec![f32::NAN; out_len];
                packed.run(&Call { threads, x: &x, images, from, to, epilogue }, &mut out).unwrap();
                let expected = expected.get_or_insert_with(|| out.clone());
                assert!(out == *expected, "{} on {n_threads} threads, {shape:?}", form.name);
                let dense = dense.get_or_insert_with(|| out.clone());
                let worst = out.iter().zip(dense).map(|(a, b)| (a - *b).abs()).fold(0.0, f32::max);
                // Two factors with 8 bits each, at most half of `k` of them.
                let limit = if form.name == "bf16" { 0.008 * traits.k() as f32 } else { 5e-5 };
                assert!(worst < limit, "{}: {worst}, {shape:?}", form.name);
            }
        }
        assert!(dense.is_some());
    }
    let all: BTreeSet<_> = FORMS.iter().map(|form| form.name).filter(|&name| name != "bf16").collect();
    assert!(seen.is_superset(&all), "{seen:?}");
}

#[test]
fn every_integer_form_gives_the_bytes_of_the_dense_one() {
    let mut seen = BTreeSet::new();
    for ((shape, images, order), pattern) in
        layers().into_iter().flat_map(|layer| PATTERNS.map(|pattern| (layer, pattern)))
    {
        let kept = kept(&shape, order, pattern);
        let weight: Vec<i8> = noise(kept.len(), 1).zip(kept).map(|(x, kept)| if kept { x as i8 } else { 0 }).collect();
        let zeros = Zeros::count(&shape, order, &weight, |value, _| value == 0);
        let traits = traits(shape, images, zeros, true);
        let (x_len, out_len) = traits.lengths();
        let x: Vec<u8> = noise(x_len, 2).map(|x| x as u8).collect();
        let finish = Dequantize { scales: &[0.5], bias: None, residual: None, activation: Activation::None };
        let mut expected: Option<Vec<f32>> = None;
        for form in INTEGER_FORMS.iter().filter(|form| (form.fits)(&traits)) {
            seen.insert(form.name);
            let layer = IntegerLayer { shape, order, weight: Bytes::I8(&weight), zero_points: &[] };
            let packed = (form.pack)(&layer).unwrap();
            assert!((form.cost)(&traits) > 0.0 && packed.size_bytes() > 0);
            for n_threads in [1, 2, 4] {
                let mut out = vec![f32::NAN; out_len];
                let output = &mut Output::F32(finish, &mut out);
                packed.run(&Threads::new(n_threads), Bytes::U8(&x), 7, images, output).unwrap();
                let expected = expected.get_or_insert_with(|| out.clone());
                assert!(out == *expected, "{} on {n_threads} threads, {shape:?}", form.name);
            }
        }
        assert!(expected.is_some());
    }
    let all: BTreeSet<_> = INTEGER_FORMS.iter().map(|form| form.name).filter(|&name| name != "via f32").collect();
    assert!(seen.is_superset(&all), "{seen:?}");
}
