//! Times of the kernels in the layers of ResNet-20, ResNet-50, MobileNetV1, MiniLM-6 (128 tokens) and an MLP, batch 1,
//! f32, bf16 and int8.
//!
//! `cargo run --release -p lissom-kernels --example shapes [threads]`. The layers of a network run one after the other,
//! each with its own weights, so that caches are as warm as in use; a line is the best of several rounds.

use lissom_kernels::attention::{Attention, Offsets, attention};
use lissom_kernels::bgemm::{PackedBf16, bconv, bgemm};
use lissom_kernels::conv::{ConvShape, Images, PackedConv, Window, conv};
use lissom_kernels::elementwise::{Operand, Unary};
use lissom_kernels::gemm::{PackedB, gemm};
use lissom_kernels::qconv::{PackedQConv, qconv};
use lissom_kernels::qgemm::{Output, Requantize};
use lissom_kernels::quantize::{Bytes, BytesMut};
use lissom_kernels::rows::{LayerNorm, layer_norm};
use lissom_kernels::wgemm::{Bits, Codes, PackedW, wgemm};
use lissom_kernels::{Activation, Epilogue, Threads, elementwise, permute, pool};
use std::time::Instant;

/// A named piece of work with its multiply-adds.
struct Step<'a> {
    name: String,
    macs: usize,
    work: Box<dyn FnMut() + 'a>,
}

fn main() {
    let n_threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    let threads = &Threads::new(n_threads);
    println!("{n_threads} threads");
    fork_join(threads);
    run("products, weights in cache", products(threads));
    let (small, resnet, mobilenet) = (resnet20(), resnet50(), mobilenet_v1());
    run("resnet20 f32", small.iter().map(|layer| conv_step(threads, layer)).collect());
    run("resnet50 f32", resnet.iter().map(|layer| conv_step(threads, layer)).collect());
    run("mobilenetv1 f32", mobilenet.iter().map(|layer| conv_step(threads, layer)).collect());
    run("minilm6 f32", minilm6(threads, product_step));
    run("mlp f32", mlp(threads, product_step));
    run("resnet20 bf16", small.iter().map(|layer| bconv_step(threads, layer)).collect());
    run("resnet50 bf16", resnet.iter().map(|layer| bconv_step(threads, layer)).collect());
    run("mobilenetv1 bf16", mobilenet.iter().map(|layer| bconv_step(threads, layer)).collect());
    run("minilm6 bf16", minilm6(threads, bf16_step));
    run("mlp bf16", mlp(threads, bf16_step));
    run("resnet20 int8", small.iter().map(|layer| qconv_step(threads, layer)).collect());
    run("resnet50 int8", resnet.iter().map(|layer| qconv_step(threads, layer)).collect());
    run("mobilenetv1 int8", mobilenet.iter().map(|layer| qconv_step(threads, layer)).collect());
    run("one row, 16 M weights", one_row(threads));
    run("the rest", the_rest(threads));
}

/// Runs all steps in order for a while and prints the best time of each.
fn run(title: &str, mut steps: Vec<Step<'_>>) {
    println!("\n{title}");
    let mut best = vec![f64::INFINITY; steps.len()];
    let mut best_total = f64::INFINITY;
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || started.elapsed().as_millis() < 1000 {
        let begun = Instant::now();
        for (step, best) in steps.iter_mut().zip(&mut best) {
            let begun = Instant::now();
            (step.work)();
            *best = best.min(begun.elapsed().as_secs_f64());
        }
        best_total = best_total.min(begun.elapsed().as_secs_f64());
        rounds += 1;
    }
    for (step, seconds) in steps.iter().zip(&best) {
        println!("  {:48} {:9.4} ms {:8.1} GOP/s", step.name, seconds * 1e3, 2e-9 * step.macs as f64 / seconds);
    }
    let macs: usize = steps.iter().map(|step| step.macs).sum();
    println!("  {:48} {:9.4} ms {:8.1} GOP/s", "all, in one round", best_total * 1e3, 2e-9 * macs as f64 / best_total);
}

/// What splitting costs: equal tasks, one a thread, against one of them alone.
fn fork_join(threads: &Threads) {
    let task = || (0..200).for_each(|_| std::hint::spin_loop());
    let best = |work: &dyn Fn()| {
        let time = || {
            let begun = Instant::now();
            (0..100).for_each(|_| work());
            begun.elapsed().as_secs_f64() * 1e4
        };
        (0..200).map(|_| time()).fold(f64::INFINITY, f64::min)
    };
    let (alone, split) = (best(&task), best(&|| threads.run(threads.count(), |_| task())));
    println!("fork and join: {:.2} us more than the {alone:.2} us of a task", split - alone);
}

fn products(threads: &Threads) -> Vec<Step<'_>> {
    [
        [3136, 64, 256],
        [784, 512, 128],
        [196, 1024, 256],
        [49, 512, 2048],
        [1, 2048, 1000],
        [128, 384, 384],
        [1024, 1024, 1024],
    ]
    .into_iter()
    .map(|[m, k, n]| product_step(threads, m, k, n, Activation::Relu))
    .collect()
}

fn product_step(threads: &Threads, m: usize, k: usize, n: usize, activation: Activation) -> Step<'_> {
    let (a, bias) = (vec![0.5f32; m * k], vec![1.0f32; n]);
    let packed = PackedB::new(&vec![0.25f32; k * n], k, n).expect("sizes fit");
    let mut out = vec![0.0f32; m * n];
    let work = move || {
        let epilogue = Epilogue { bias: Some(&bias), activation, ..Epilogue::default() };
        gemm(threads, &a, m, &packed, &epilogue, &mut out).expect("sizes fit");
    };
    Step { name: format!("gemm {m}x{k}x{n}"), macs: m * k * n, work: Box::new(work) }
}

/// `product_step` in bf16.
fn bf16_step(threads: &Threads, m: usize, k: usize, n: usize, activation: Activation) -> Step<'_> {
    let (a, bias) = (vec![0.5f32; m * k], vec![1.0f32; n]);
    let packed = PackedBf16::linear(&vec![0.25f32; k * n], k, n, false).expect("sizes fit");
    let mut out = vec![0.0f32; m * n];
    let work = move || {
        let epilogue = Epilogue { bias: Some(&bias), activation, ..Epilogue::default() };
        bgemm(threads, &a, m, &packed, &epilogue, &mut out).expect("sizes fit");
    };
    Step { name: format!("gemm {m}x{k}x{n}"), macs: m * k * n, work: Box::new(work) }
}

fn one_row(threads: &Threads) -> Vec<Step<'_>> {
    vec![
        product_step(threads, 1, 4096, 4096, Activation::None),
        decoding_step(threads, 4096, 4096, Bits::Eight, 4096),
        decoding_step(threads, 4096, 4096, Bits::Four, 32),
        decoding_step(threads, 4096, 4096, Bits::Four, 128),
    ]
}

/// `(kernel, stride, c_in, c_out, groups, size of the image)`.
type Layer = (usize, usize, usize, usize, usize, usize);

fn resnet20() -> Vec<Layer> {
    let mut layers = vec![(3, 1, 3, 16, 1, 32)];
    for stage in 0..3 {
        let (width, size) = (16 << stage, 32 >> stage);
        let (c_in, before) = if stage == 0 { (width, size) } else { (width / 2, size * 2) };
        layers.push((3, before / size, c_in, width, 1, before));
        layers.extend([(3, 1, width, width, 1, size); 5]);
    }
    layers.push((1, 1, 64, 10, 1, 1));
    layers
}

fn resnet50() -> Vec<Layer> {
    let mut layers = vec![(7, 2, 3, 64, 1, 224)];
    let mut c_in = 64;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, mut size) = (64 << stage, 56 >> stage.saturating_sub(1));
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            layers.push((1, 1, c_in, width, 1, size));
            layers.push((3, stride, width, width, 1, size));
            if block == 0 {
                layers.push((1, stride, c_in, 4 * width, 1, size));
            }
            size /= stride;
            layers.push((1, 1, width, 4 * width, 1, size));
            c_in = 4 * width;
        }
    }
    layers.push((1, 1, 2048, 1000, 1, 1));
    layers
}

fn mobilenet_v1() -> Vec<Layer> {
    let mut layers = vec![(3, 2, 3, 32, 1, 224)];
    let (mut c_in, mut size) = (32, 112);
    for (c_out, stride) in [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (1024, 2),
        (1024, 1),
    ] {
        layers.push((3, stride, c_in, c_in, c_in, size));
        size /= stride;
        layers.push((1, 1, c_in, c_out, 1, size));
        c_in = c_out;
    }
    layers.push((1, 1, 1024, 1000, 1, 1));
    layers
}

fn shape_of(&(kernel, stride, c_in, c_out, groups, size): &Layer) -> (ConvShape, Images, String, usize) {
    let window = Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1, 1], pads: [kernel / 2; 4] };
    let shape = ConvShape { window, c_in, c_out, groups };
    let [h, w] = window.output_size(size, size).expect("the window fits");
    let name = format!(
        "conv {kernel}x{kernel}/{stride} {c_in}->{c_out} at {size}{}",
        if groups > 1 { " depthwise" } else { "" }
    );
    (shape, Images { n: 1, h: size, w: size }, name, h * w)
}

fn conv_step<'a>(threads: &'a Threads, layer: &Layer) -> Step<'a> {
    let (shape, images, name, pixels) = shape_of(layer);
    let packed = PackedConv::new(shape, &vec![0.01; shape.weight_len()]).expect("sizes fit");
    let input = vec![0.5f32; images.h * images.w * shape.c_in];
    let bias = vec![0.1f32; shape.c_out];
    let mut out = vec![0.0f32; pixels * shape.c_out];
    let work = move || {
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        conv(threads, &input, images, &packed, &epilogue, &mut out).expect("sizes fit");
    };
    Step { name, macs: shape.macs(pixels), work: Box::new(work) }
}

/// `conv_step` in bf16.
fn bconv_step<'a>(threads: &'a Threads, layer: &Layer) -> Step<'a> {
    let (shape, images, name, pixels) = shape_of(layer);
    let packed = PackedBf16::conv(shape, &vec![0.01; shape.weight_len()]).expect("sizes fit");
    let input = vec![0.5f32; images.h * images.w * shape.c_in];
    let bias = vec![0.1f32; shape.c_out];
    let mut out = vec![0.0f32; pixels * shape.c_out];
    let work = move || {
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        bconv(threads, &input, images, &packed, &epilogue, &mut out).expect("sizes fit");
    };
    Step { name, macs: shape.macs(pixels), work: Box::new(work) }
}

fn qconv_step<'a>(threads: &'a Threads, layer: &Layer) -> Step<'a> {
    let (shape, images, name, pixels) = shape_of(layer);
    let packed = PackedQConv::new(shape, Bytes::I8(&vec![3; shape.weight_len()]), &[]).expect("sizes fit");
    let input = vec![130u8; images.h * images.w * shape.c_in];
    let (bias, multipliers) = (vec![100i32; shape.c_out], vec![1e-3f32; shape.c_out]);
    let mut out = vec![0u8; pixels * shape.c_out];
    let work = move || {
        let requantize =
            Requantize { multipliers: &multipliers, bias: Some(&bias), residual: None, zero_point: 3, clamp: [3, 255] };
        let mut output = Output::Bytes(requantize, BytesMut::U8(&mut out));
        qconv(threads, Bytes::U8(&input), 128, images, &packed, &mut output).expect("sizes fit");
    };
    Step { name, macs: shape.macs(pixels), work: Box::new(work) }
}

/// A product of `(threads, m, k, n)` with an activation.
type Product<'a> = fn(&'a Threads, usize, usize, usize, Activation) -> Step<'a>;

fn mlp<'a>(threads: &'a Threads, product: Product<'a>) -> Vec<Step<'a>> {
    [(784, 1024), (1024, 1024), (1024, 10)].map(|(k, n)| product(threads, 1, k, n, Activation::Relu)).into()
}

fn minilm6<'a>(threads: &'a Threads, product: Product<'a>) -> Vec<Step<'a>> {
    let (tokens, width, heads) = (128, 384, 12);
    let mut steps = Vec::new();
    for _ in 0..6 {
        steps.extend((0..3).map(|_| product(threads, tokens, width, width, Activation::None)));
        steps.push(attention_step(threads, heads, tokens, width / heads));
        steps.push(product(threads, tokens, width, width, Activation::None));
        steps.push(norm_step(threads, tokens, width));
        steps.push(product(threads, tokens, width, 4 * width, Activation::Curve(Unary::Gelu)));
        steps.push(product(threads, tokens, 4 * width, width, Activation::None));
        steps.push(norm_step(threads, tokens, width));
    }
    steps
}

fn norm_step(threads: &Threads, rows: usize, n: usize) -> Step<'_> {
    let (x, scale) = (vec![0.5f32; rows * n], vec![1.0f32; n]);
    let mut out = vec![0.0f32; rows * n];
    let work = move || {
        let norm = LayerNorm { scale: Some(&scale), bias: Some(&scale), epsilon: 1e-12 };
        layer_norm(threads, &x, n, Some(&x), &norm, &mut out).expect("sizes fit");
    };
    Step { name: format!("layer norm + residual {rows}x{n}"), macs: 0, work: Box::new(work) }
}

fn attention_step(threads: &Threads, heads: usize, tokens: usize, d: usize) -> Step<'_> {
    let width = heads * d;
    let qkv = vec![0.5f32; tokens * width];
    let mut out = qkv.clone();
    let offsets: Vec<_> =
        (0..heads).map(|head| head * d).map(|at| Offsets { q: at, k: at, v: at, mask: 0, out: at }).collect();
    let work = move || {
        let shape = Attention {
            queries: tokens,
            keys: tokens,
            d,
            d_v: d,
            q_strides: [width, 1],
            k_strides: [width, 1],
            v_strides: [width, 1],
            mask_stride: 0,
            out_stride: width,
            offsets: &offsets,
            scale: 0.25,
            side_grids: [None; 3],
            score_grid: None,
            weight_grid: None,
        };
        attention(threads, &shape, &qkv, &qkv, &qkv, None, &mut out).expect("sizes fit");
    };
    Step {
        name: format!("attention {heads} heads of {d}"),
        macs: 2 * heads * tokens * tokens * d,
        work: Box::new(work),
    }
}

/// One row, as when text is written a word at a time.
fn decoding_step(threads: &Threads, k: usize, n: usize, bits: Bits, group: usize) -> Step<'_> {
    let a = vec![0.5f32; k];
    let (values, scales) = (vec![3i8; k * n], vec![0.01f32; k.div_ceil(group) * n]);
    let codes = Codes { bits, values: &values, scales: &scales, zero_points: &[], group, is_transposed: false };
    let packed = PackedW::new(&codes, k, n).expect("sizes fit");
    let mut out = vec![0.0f32; n];
    let work = move || wgemm(threads, &a, 1, &packed, &Epilogue::default(), &mut out).expect("sizes fit");
    Step { name: format!("wgemm 1x{k}x{n}, {bits:?} bits by {group}"), macs: k * n, work: Box::new(work) }
}

fn the_rest(threads: &Threads) -> Vec<Step<'_>> {
    let n = 112 * 112 * 64;
    let (x, y) = (vec![0.5f32; n], vec![0.25f32; n]);
    let (x2, x3, x4) = (x.clone(), x.clone(), x.clone());
    let (mut out, mut out2, mut out3, mut out4) = (x.clone(), x.clone(), x.clone(), x.clone());
    let window = Window { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], pads: [1; 4] };
    let shape = pool::PoolShape { window, channels: 64, op: pool::Pool::Max, is_ceil: false };
    let images = Images { n: 1, h: 112, w: 112 };
    let add =
        move || elementwise::binary(threads, elementwise::Binary::Add, &x, Operand::Same(&y), &mut out).expect("fits");
    let gelu = move || elementwise::unary(threads, Unary::Gelu, &x2, &mut out2).expect("fits");
    let pooled = move || pool::pool(threads, &x3, images, &shape, &mut out3[..56 * 56 * 64]).expect("fits");
    let transposed = move || permute::transpose(threads, &x4, [1, 64, 112 * 112], &mut out4).expect("fits");
    let step = |name: &str, work| Step { name: format!("{name}, 112x112x64"), macs: n, work };
    vec![
        step("add", Box::new(add)),
        step("gelu", Box::new(gelu)),
        step("max pool 3x3/2", Box::new(pooled)),
        step("NCHW to NHWC", Box::new(transposed)),
    ]
}
