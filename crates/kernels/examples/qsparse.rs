//! Times of sparse int8 layers against dense ones: ResNet-50 and -20, MobileNetV1 (batch 1), MiniLM-6 and BERT-base
//! (128 tokens), both forms, at several sparsities.
//!
//! `cargo run --release -p lissom-kernels --example qsparse [threads] [network] [sparsity] [real|bytes]`. The layers of a
//! network run one after the other, each with its own weights, in the same memory, so that caches are as warm as in use; a time
//! is the best of several rounds. Weights of `Gather` have no pattern, those of `Blocks` are pruned 1×4 along the input.

use lissom_kernels::conv::{ConvShape, Images, Window};
use lissom_kernels::qconv::{PackedQConv, qconv};
use lissom_kernels::qgemm::{Dequantize, Output, Requantize};
use lissom_kernels::qspmm::{Form, PackedQSpmm, qspmm};
use lissom_kernels::quantize::{Bytes, BytesMut};
use lissom_kernels::{Activation, Threads};
use std::time::Instant;

/// `(kernel, stride, c_in, c_out, size of the image)`.
type Layer = (usize, usize, usize, usize, usize);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    let threads = &Threads::new(argument(0).and_then(|n| n.parse().ok()).unwrap_or(2));
    let wanted = argument(1).unwrap_or("");
    let sparsities = argument(2).and_then(|x| x.parse().ok()).map_or(vec![0.8, 0.9, 0.95], |one| vec![one]);
    let is_real = argument(3) == Some("real");
    println!("{} threads", threads.count());
    let networks: [(&str, Vec<Layer>); 6] = [
        ("mlp", vec![(1, 1, 784, 300, 0), (1, 1, 300, 100, 0), (1, 1, 100, 10, 0)]),
        ("resnet20", resnet20()),
        ("resnet50", resnet50()),
        ("mobilenetv1", mobilenet_v1()),
        ("minilm6", transformer(384, 6)),
        ("bertbase", transformer(768, 12)),
    ];
    for (name, layers) in networks.iter().filter(|(name, _)| name.contains(wanted)) {
        for &sparsity in &sparsities {
            network(threads, &format!("{name} {:.0} %", sparsity * 100.0), layers, sparsity, is_real);
        }
    }
}

/// One layer in one form; times of rounds are kept apart.
struct Step {
    weight: Packed,
    images: Images,
    pixels: usize,
    multipliers: Vec<f32>,
    bias: Vec<i32>,
    best: f64,
}

/// Images that all layers share, as in the memory plan of a network.
struct Memory {
    input: Vec<u8>,
    out: Vec<u8>,
    reals: Vec<f32>,
}

enum Packed {
    Dense(PackedQConv),
    Sparse(PackedQSpmm),
}

/// Weights with whole groups of `group` inputs pruned, `[c_out, c_in, kh, kw]`.
fn pruned(shape: &ConvShape, sparsity: f64, group: usize) -> Vec<i8> {
    let taps = shape.window.kernel[0] * shape.window.kernel[1];
    let mut state = 88_172_645_463_325_252u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut weight = vec![0i8; shape.weight_len()];
    for output in 0..shape.c_out {
        for tap in 0..taps {
            for first in (0..shape.c_in).step_by(group) {
                if (next() >> 11) as f64 / (1u64 << 53) as f64 >= sparsity {
                    for input in first..shape.c_in.min(first + group) {
                        weight[(output * shape.c_in + input) * taps + tap] = (next() % 127) as i8 + 1;
                    }
                }
            }
        }
    }
    weight
}

fn step(&(kernel, stride, c_in, c_out, size): &Layer, sparsity: f64, form: Option<Form>) -> Step {
    let window = Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1, 1], pads: [kernel / 2; 4] };
    let shape = ConvShape { window, c_in, c_out, groups: 1 };
    let images = match size {
        0 => Images { n: 1, h: 1, w: 1 },
        TOKENS => Images { n: 1, h: 1, w: TOKENS },
        _ => Images { n: 1, h: size, w: size },
    };
    let [h, w] = window.output_size(images.h, images.w).expect("the window fits");
    let weight = pruned(&shape, sparsity, if form == Some(Form::Blocks) { 4 } else { 1 });
    let bytes = Bytes::I8(&weight);
    let weight = match form {
        None => Packed::Dense(PackedQConv::new(shape, bytes, &[]).expect("sizes fit")),
        Some(form) => Packed::Sparse(PackedQSpmm::conv(shape, bytes, &[], form).expect("sizes fit")),
    };
    Step { weight, images, pixels: h * w, multipliers: vec![1e-4; c_out], bias: vec![3; c_out], best: f64::MAX }
}

impl Step {
    fn c_in(&self) -> usize {
        match &self.weight {
            Packed::Dense(weight) => weight.shape().c_in,
            Packed::Sparse(weight) => weight.shape().c_in,
        }
    }

    fn run(&mut self, threads: &Threads, memory: &mut Memory, is_real: bool) {
        let (c_in, c_out) = (self.c_in(), self.bias.len());
        let begun = Instant::now();
        let mut output = if is_real {
            let dequantize =
                Dequantize { scales: &self.multipliers, bias: None, residual: None, activation: Activation::None };
            Output::F32(dequantize, &mut memory.reals[..self.pixels * c_out])
        } else {
            let (multipliers, bias) = (&self.multipliers[..], Some(&self.bias[..]));
            let requantize = Requantize { multipliers, bias, residual: None, zero_point: 3, clamp: [3, 255] };
            Output::Bytes(requantize, BytesMut::U8(&mut memory.out[..self.pixels * c_out]))
        };
        let input = Bytes::U8(&memory.input[..self.images.h * self.images.w * c_in]);
        match &self.weight {
            Packed::Dense(weight) => qconv(threads, input, 9, self.images, weight, &mut output),
            Packed::Sparse(weight) => qspmm(threads, input, 9, self.images, weight, &mut output),
        }
        .expect("sizes fit");
        self.best = self.best.min(begun.elapsed().as_secs_f64());
    }
}

fn network(threads: &Threads, title: &str, layers: &[Layer], sparsity: f64, is_real: bool) {
    let forms = [None, Some(Form::Gather), Some(Form::Blocks)];
    let mut steps = forms.map(|form| layers.iter().map(|layer| step(layer, sparsity, form)).collect::<Vec<_>>());
    let largest = |size: fn(&Step) -> usize| steps[0].iter().map(size).max().unwrap_or(0);
    let (input, out) =
        (largest(|step| step.images.h * step.images.w * step.c_in()), largest(|step| step.pixels * step.bias.len()));
    let input = (0..input).map(|i| (i * 7 % 251) as u8).collect();
    let mut memory = Memory { input, out: vec![0; out], reals: vec![0.0; out] };
    let mut totals = [f64::MAX; 3];
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 5 || started.elapsed().as_millis() < 1500 {
        for (steps, total) in steps.iter_mut().zip(&mut totals) {
            // Some in a row, so that a form has the cache for itself.
            for _ in 0..4 {
                let begun = Instant::now();
                steps.iter_mut().for_each(|step| step.run(threads, &mut memory, is_real));
                *total = total.min(begun.elapsed().as_secs_f64());
            }
        }
        rounds += 1;
    }
    println!("\n{title:36}   dense  gather  blocks   us; GOP/s of the dense layer");
    let sums = steps.each_ref().map(|steps| steps.iter().map(|step| step.best).sum::<f64>());
    let mut at = 0;
    while at < layers.len() {
        let same = layers[at..].iter().take_while(|&layer| *layer == layers[at]).count();
        let (kernel, stride, c_in, c_out, size) = layers[at];
        let best = |form: usize| steps[form][at..at + same].iter().map(|step| step.best).fold(f64::MAX, f64::min);
        let pixels = steps[0][at].pixels;
        let gops = |form: usize| 2e-9 * (pixels * kernel * kernel * c_in * c_out) as f64 / best(form);
        let name = format!("{same} of {kernel}x{kernel}/{stride} {c_in}->{c_out} at {size}");
        print!("  {name:34}");
        (0..3).for_each(|form| print!(" {:7.2}", best(form) * 1e6));
        println!("   {:6.0} {:6.0} {:6.0}", gops(0), gops(1), gops(2));
        at += same;
    }
    for (name, totals) in [("all, in one round", totals), ("all, the best of each", sums)] {
        print!("  {name:34}");
        totals.iter().for_each(|total| print!(" {:7.1}", total * 1e6));
        println!("   gather {:.2}x, blocks {:.2}x", totals[0] / totals[1], totals[0] / totals[2]);
    }
}

/// Not the size of an image, but of a matrix.
const TOKENS: usize = 128;

/// The 3×3 layers but the first.
fn resnet20() -> Vec<Layer> {
    let mut layers = Vec::new();
    for stage in 0..3 {
        let (width, size) = (16 << stage, 32 >> stage);
        let first = if stage == 0 { (3, 1, width, width, size) } else { (3, 2, width / 2, width, size * 2) };
        layers.push(first);
        layers.extend([(3, 1, width, width, size); 5]);
    }
    layers
}

/// All but the first, 7×7 layer.
fn resnet50() -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut c_in = 64;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, mut size) = (64 << stage, if stage == 0 { 56 } else { 112 >> stage });
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            layers.push((1, 1, c_in, width, size));
            layers.push((3, stride, width, width, size));
            if block == 0 {
                layers.push((1, stride, c_in, 4 * width, size));
            }
            size /= stride;
            layers.push((1, 1, width, 4 * width, size));
            c_in = 4 * width;
        }
    }
    layers.push((1, 1, 2048, 1000, 0));
    layers
}

/// The 1×1 layers.
fn mobilenet_v1() -> Vec<Layer> {
    vec![
        (1, 1, 32, 64, 112),
        (1, 1, 64, 128, 56),
        (1, 1, 128, 128, 56),
        (1, 1, 128, 256, 28),
        (1, 1, 256, 256, 28),
        (1, 1, 256, 512, 14),
        (1, 1, 512, 512, 14),
        (1, 1, 512, 512, 14),
        (1, 1, 512, 512, 14),
        (1, 1, 512, 512, 14),
        (1, 1, 512, 512, 14),
        (1, 1, 512, 1024, 7),
        (1, 1, 1024, 1024, 7),
        (1, 1, 1024, 1000, 0),
    ]
}

/// The linear layers of an encoder for 128 tokens.
fn transformer(width: usize, blocks: usize) -> Vec<Layer> {
    let block = [
        (1, 1, width, width, TOKENS),
        (1, 1, width, width, TOKENS),
        (1, 1, width, width, TOKENS),
        (1, 1, width, width, TOKENS),
        (1, 1, width, 4 * width, TOKENS),
        (1, 1, 4 * width, width, TOKENS),
    ];
    std::iter::repeat_n(block, blocks).flatten().collect()
}
