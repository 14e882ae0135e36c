//! Times of the convolutions of a training step of ResNet-20 on 32 x 32 images (forward, input gradient, weight gradient), and
//! of products with both sides variable, as in the gradients of linear layers.
//!
//! `cargo run --release -p lissom-kernels --example train [threads [images [filter]]]`. Best of several rounds through all layers,
//! with weights packed anew each time.

use lissom_kernels::conv::{self, ConvShape, Images, Window};
use lissom_kernels::conv_grad;
use lissom_kernels::gemm::{self, Batch, Matrix, PackedB};
use lissom_kernels::memory::LargePages;
use lissom_kernels::{Activation, Epilogue, Threads};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Kernel, stride, input channels, output channels, size of the image, how often the network has it.
const LAYERS: [(usize, usize, usize, usize, usize, usize); 6] = [
    (3, 1, 3, 16, 32, 1),
    (3, 1, 16, 16, 32, 6),
    (3, 2, 16, 32, 32, 1),
    (3, 1, 32, 32, 16, 5),
    (3, 2, 32, 64, 16, 1),
    (3, 1, 64, 64, 8, 5),
];

/// `[m, k, n]` of the linear layers of an MLP and a transformer, and of their weight gradients.
const PRODUCTS: [[usize; 3]; 6] =
    [[256, 784, 1024], [256, 1024, 1024], [784, 256, 1024], [1024, 256, 1024], [2048, 256, 1024], [256, 2048, 1024]];

/// A named piece of work with its multiply-adds.
struct Step<'a> {
    name: String,
    macs: usize,
    times: usize,
    work: Box<dyn FnMut() + 'a>,
}

fn main() {
    let number = |index, default| std::env::args().nth(index).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (n_threads, n) = (number(1, 2), number(2, 128));
    let filter = std::env::args().nth(3).unwrap_or_default();
    let threads = &Threads::new(n_threads);
    println!("{n_threads} threads, {n} images");
    type Make = for<'a> fn(&'a Threads, &ConvShape, Images) -> Box<dyn FnMut() + 'a>;
    let kinds: [(&str, Make); 3] =
        [("forward", forward), ("input gradient", input_gradient), ("weight gradient", weight_gradient)];
    for (kind, make) in kinds.iter().filter(|(kind, _)| kind.contains(&filter)) {
        let steps = LAYERS.iter().map(|&(kernel, stride, c_in, c_out, size, times)| {
            let window = Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], pads: [kernel / 2; 4] };
            let (shape, images) = (ConvShape { window, c_in, c_out, groups: 1 }, Images { n, h: size, w: size });
            let [h, w] = window.output_size(size, size).expect("the window fits");
            Step {
                name: format!("{kernel}x{kernel}/{stride} {c_in}->{c_out} at {size}"),
                macs: shape.macs(n * h * w),
                times,
                work: make(threads, &shape, images),
            }
        });
        run(kind, steps.collect());
    }
    for [m, k, n] in PRODUCTS {
        let title = format!("product {m}x{k}x{n}");
        if title.contains(&filter) {
            run(&title, products(threads, [m, k, n]));
        }
    }
}

/// Runs all steps in order for a while and prints the best time of each.
fn run(title: &str, mut steps: Vec<Step<'_>>) {
    println!("\n{title}");
    let mut best = vec![f64::INFINITY; steps.len()];
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 5 || started.elapsed().as_millis() < 800 {
        for (step, best) in steps.iter_mut().zip(&mut best) {
            let begun = Instant::now();
            (step.work)();
            *best = best.min(begun.elapsed().as_secs_f64());
        }
        rounds += 1;
    }
    let (mut total, mut macs) = (0.0, 0);
    for (step, seconds) in steps.iter().zip(&best) {
        println!("  {:32} {:9.4} ms {:8.1} GFLOP/s", step.name, seconds * 1e3, 2e-9 * step.macs as f64 / seconds);
        total += seconds * step.times as f64;
        macs += step.macs * step.times;
    }
    println!("  {:32} {:9.4} ms {:8.1} GFLOP/s", "all layers", total * 1e3, 2e-9 * macs as f64 / total);
}

/// Numbers between -1 and 1.
fn noise(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn sizes(shape: &ConvShape, images: Images) -> (usize, usize) {
    let [h, w] = shape.window.output_size(images.h, images.w).expect("the window fits");
    (images.n * images.h * images.w * shape.c_in, images.n * h * w * shape.c_out)
}

fn forward<'a>(threads: &'a Threads, shape: &ConvShape, images: Images) -> Box<dyn FnMut() + 'a> {
    let (shape, (n_input, n_out)) = (*shape, sizes(shape, images));
    let (input, mut out, weight) = (noise(n_input), noise(n_out), noise(shape.weight_len()));
    let mut packed = vec![0.0; conv::packed_len(&shape).expect("the shape is possible")];
    Box::new(move || {
        conv::pack_into(threads, &shape, &weight, &mut packed).expect("sizes fit");
        conv::conv_packed(threads, &input, images, &shape, &packed, &Epilogue::default(), &mut out).expect("sizes fit");
    })
}

fn input_gradient<'a>(threads: &'a Threads, shape: &ConvShape, images: Images) -> Box<dyn FnMut() + 'a> {
    let (shape, (n_input, n_out)) = (*shape, sizes(shape, images));
    let (d_out, mut d_input, weight) = (noise(n_out), noise(n_input), noise(shape.weight_len()));
    let mut packed = vec![0.0; conv_grad::input_gradient_packed_len(&shape).expect("the shape is possible")];
    Box::new(move || {
        let epilogue = Epilogue::default();
        conv_grad::pack_input_gradient_into(threads, &shape, &weight, &mut packed).expect("sizes fit");
        conv_grad::conv_input_gradient(threads, &d_out, images, &shape, &packed, &epilogue, &mut d_input)
            .expect("sizes fit");
    })
}

fn weight_gradient<'a>(threads: &'a Threads, shape: &ConvShape, images: Images) -> Box<dyn FnMut() + 'a> {
    let (shape, (n_input, n_out)) = (*shape, sizes(shape, images));
    let (input, d_out, mut d_weight) = (noise(n_input), noise(n_out), noise(shape.weight_len()));
    let mut scratch = vec![0.0; conv_grad::weight_gradient_scratch_len(&shape, images).expect("the shape is possible")];
    Box::new(move || {
        conv_grad::conv_weight_gradient(threads, &input, images, &shape, &d_out, &mut scratch, &mut d_weight, None)
            .expect("sizes fit");
    })
}

/// One product with a constant side, and with two variable sides in each orientation, packed anew each time.
fn products(threads: &Threads, [m, k, n]: [usize; 3]) -> Vec<Step<'_>> {
    let epilogue = Epilogue::default();
    let (a, constant) = (noise(m * k), PackedB::new(&noise(k * n), k, n).expect("sizes fit"));
    let mut out = vec![0.0; m * n];
    let work = Box::new(move || gemm::gemm(threads, &a, m, &constant, &epilogue, &mut out).expect("sizes fit"));
    let mut steps = vec![Step { name: "A B, B constant".into(), macs: m * k * n, times: 1, work }];
    let kinds =
        [("A B", [k, 1], [n, 1]), ("A Bt", [k, 1], [1, k]), ("At B", [1, m], [n, 1]), ("At Bt", [1, m], [1, k])];
    for (name, a_strides, b_strides) in kinds {
        let (a, b) = (noise(m * k), noise(k * n));
        let (mut out, mut packed) = (vec![0.0; m * n], vec![0.0; gemm::packed_len(k, n).expect("sizes fit")]);
        let work = Box::new(move || {
            let a = Matrix { data: &a, row_stride: a_strides[0], col_stride: a_strides[1] };
            let b = Matrix { data: &b, row_stride: b_strides[0], col_stride: b_strides[1] };
            gemm::pack_into(threads, b, k, n, &mut packed).expect("sizes fit");
            gemm::gemm_packed(threads, a, [m, k, n], &packed, &epilogue, &mut out).expect("sizes fit");
        });
        steps.push(Step { name: name.into(), macs: m * k * n, times: 1, work });
        let (a, b, mut out) = (noise(m * k), noise(k * n), vec![0.0; m * n]);
        let work = Box::new(move || {
            let batch = Batch {
                m,
                k,
                n,
                a_strides,
                b_strides,
                out_stride: n,
                offsets: &[[0, 0, 0]],
                scale: 1.0,
                activation: Activation::None,
            };
            gemm::batched(threads, &batch, &a, &b, &mut out).expect("sizes fit");
        });
        steps.push(Step { name: format!("{name}, batched"), macs: m * k * n, times: 1, work });
    }
    steps
}
