//! Times of what training does besides products: batch norm, ReLU and shortcuts of ResNet-20 at batch 128 both ways, then the other
//! families one by one.
//!
//! `cargo run --release -p lissom-kernels --example training [threads]`. Every layer has buffers of its own, so that caches are as
//! cold as in use; a line is the best of several rounds.

use lissom_kernels::batch_norm::{self, Affine, Mask, Norm, Saved};
use lissom_kernels::conv::{Images, Window};
use lissom_kernels::elementwise::{self, Binary, Operand};
use lissom_kernels::layer_norm::{self, LayerNorm};
use lissom_kernels::memory::LargePages;
use lissom_kernels::optimizer::{Adamw, Sgd, adamw, sgd};
use lissom_kernels::pool::{self, Forward, Pool, PoolShape};
use lissom_kernels::softmax::{self, Labels, Targets};
use lissom_kernels::{Activation, ShapeError, Threads, sums};
use std::collections::BTreeMap;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Seconds, by name.
type Times = BTreeMap<String, f64>;

fn main() -> Result<(), ShapeError> {
    let n_threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    let threads = &Threads::new(n_threads);
    println!("{n_threads} threads");
    resnet20(threads)?;
    others(threads)
}

/// A batch norm, whether a shortcut is added to it, and all of its matrices.
struct Layer {
    c: usize,
    has_shortcut: bool,
    x: Vec<f32>,
    y: Vec<f32>,
    dy: Vec<f32>,
    dx: Vec<f32>,
    shortcut: Vec<f32>,
    /// Mean, variance, inverse deviation, scale, bias, gradient of scale, gradient of bias.
    vectors: [Vec<f32>; 7],
}

fn layers() -> Vec<Layer> {
    let mut layers = Vec::new();
    for (stage, (rows, c)) in [(131_072, 16), (32_768, 32), (8192, 64)].into_iter().enumerate() {
        for index in usize::from(stage > 0)..7 {
            let noise = |seed: usize| (0..rows * c).map(|i| ((i * 7919 + seed) % 2003) as f32 / 1000.0 - 1.0).collect();
            let has_shortcut = index > 0 && index % 2 == 0;
            let shortcut = if has_shortcut { noise(3) } else { Vec::new() };
            let (x, dy) = (noise(index), noise(index + 9));
            let vectors = [(); 7].map(|()| vec![0.5; c]);
            layers.push(Layer { c, has_shortcut, y: x.clone(), dx: x.clone(), x, dy, shortcut, vectors });
        }
    }
    layers
}

impl Layer {
    fn forward(&mut self, threads: &Threads, times: &mut Times) -> Result<(), ShapeError> {
        let (name, ones) = (format!("[{}, {}]", self.x.len() / self.c, self.c), vec![1.0; self.c]);
        let [mean, variance, inv_std, scale, bias, ..] = &mut self.vectors;
        timed(times, &format!("{name} statistics"), || batch_norm::statistics(threads, &self.x, mean, variance))?;
        let of = Affine { scale: &ones, bias: &ones };
        batch_norm::coefficients([mean, variance], 1e-5, of, inv_std, [scale, bias])?;
        let shortcut = self.has_shortcut.then_some(&self.shortcut[..]);
        let affine = Affine { scale, bias };
        let name = format!("{name} normalize{}", if self.has_shortcut { " + shortcut" } else { "" });
        timed(times, &name, || batch_norm::normalize(threads, &self.x, affine, shortcut, Activation::Relu, &mut self.y))
    }

    fn backward(&mut self, threads: &Threads, times: &mut Times) -> Result<(), ShapeError> {
        let (name, ones) = (format!("[{}, {}]", self.x.len() / self.c, self.c), vec![1.0; self.c]);
        let [mean, _, inv_std, scale, bias, dscale, dbias] = &mut self.vectors;
        let (saved, x) = (Saved { mean, inv_std }, &self.x);
        if self.has_shortcut {
            let mask = Mask::Output(&self.y, Activation::Relu);
            timed(times, &format!("{name} gradient_sums_in_place"), || {
                batch_norm::gradient_sums_in_place(threads, &mut self.dy, x, saved, mask, dscale, dbias)
            })?;
            let norm = Norm { scale: &ones, saved, dscale, dbias };
            return timed(times, &format!("{name} gradient"), || {
                batch_norm::gradient(threads, &self.dy, x, &norm, Mask::All, &mut self.dx)
            });
        }
        let mask = Mask::Recomputed(Affine { scale, bias }, Activation::Relu);
        timed(times, &format!("{name} gradient_sums"), || {
            batch_norm::gradient_sums(threads, &self.dy, x, saved, mask, dscale, dbias)
        })?;
        let norm = Norm { scale: &ones, saved, dscale, dbias };
        timed(times, &format!("{name} gradient_in_place"), || {
            batch_norm::gradient_in_place(threads, &mut self.dy, x, &norm, mask)
        })
    }
}

/// Runs `work`, and adds its time to those of `name`.
fn timed(times: &mut Times, name: &str, work: impl FnOnce() -> Result<(), ShapeError>) -> Result<(), ShapeError> {
    let begun = Instant::now();
    work()?;
    *times.entry(name.to_owned()).or_default() += begun.elapsed().as_secs_f64();
    Ok(())
}

/// The times of the best of several rounds, each number by itself.
fn best(rounds: usize, mut round: impl FnMut(&mut Times) -> Result<(), ShapeError>) -> Result<Times, ShapeError> {
    let mut best = Times::new();
    for _ in 0..rounds {
        let mut times = Times::new();
        round(&mut times)?;
        for (name, seconds) in times {
            let least = best.entry(name).or_insert(seconds);
            *least = least.min(seconds);
        }
    }
    Ok(best)
}

fn resnet20(threads: &Threads) -> Result<(), ShapeError> {
    let mut layers = layers();
    let times = best(20, |times| {
        let begun = Instant::now();
        layers.iter_mut().try_for_each(|layer| layer.forward(threads, times))?;
        let forward = begun.elapsed().as_secs_f64();
        layers.iter_mut().rev().try_for_each(|layer| layer.backward(threads, times))?;
        times.insert("all forward".into(), forward);
        times.insert("all backward".into(), begun.elapsed().as_secs_f64() - forward);
        times.insert("all".into(), begun.elapsed().as_secs_f64());
        Ok(())
    })?;
    println!("\nresnet20, batch 128: times of all layers of a kind");
    times.iter().for_each(|(name, seconds)| println!("  {name:45} {:8.3} ms", seconds * 1e3));
    Ok(())
}

/// One line: the best of several calls, and the gigabytes a second that it reads and writes.
fn line(name: &str, bytes: usize, mut work: impl FnMut() -> Result<(), ShapeError>) -> Result<(), ShapeError> {
    let times = best(20, |times| timed(times, name, &mut work))?;
    let seconds = times[name];
    println!("  {name:45} {:8.3} ms {:6.1} GB/s", seconds * 1e3, bytes as f64 / seconds * 1e-9);
    Ok(())
}

fn others(threads: &Threads) -> Result<(), ShapeError> {
    println!("\nthe others");
    let n = 1 << 21;
    let a: Vec<f32> = (0..n).map(|i| (i % 2003) as f32 / 500.0 - 2.0).collect();
    let (b, mut out, mut spare) = (a.clone(), a.clone(), [a.clone(), a.clone()]);
    for op in [Binary::ReluGrad, Binary::GeluGrad, Binary::SigmoidGrad] {
        line(&format!("{op:?} [2 M]"), n * 12, || elementwise::binary(threads, op, &a, Operand::Same(&b), &mut out))?;
    }
    let (ones, mut mean, mut inv_std) = (vec![1.0; 256], vec![0.0; n / 256], vec![0.0; n / 256]);
    let norm = LayerNorm { scale: Some(&ones), bias: Some(&ones), epsilon: 1e-5, is_centered: true };
    line("layer norm [8192, 256]", n * 8, || {
        layer_norm::normalize(threads, &a, 256, &norm, &mut mean, &mut inv_std, &mut out)
    })?;
    let (mut dscale, mut dbias) = (vec![0.0; 256], vec![0.0; 256]);
    line("layer norm gradient [8192, 256]", n * 12, || {
        let saved = layer_norm::Saved { mean: &mean, inv_std: &inv_std };
        let sums = [Some(&mut dscale[..]), Some(&mut dbias[..])];
        layer_norm::gradient(threads, &a, &b, 256, &norm, saved, &mut out, sums)
    })?;
    line("softmax gradient [16384, 128]", n * 12, || softmax::gradient(threads, &a, &b, 128, &mut out))?;
    let classes: Vec<i64> = (0..n as i64 / 1024).map(|i| i % 1024).collect();
    let targets = Targets { labels: Labels::Classes(&classes), weights: None, smoothing: 0.1, ignored: Some(-100) };
    let mut losses = vec![0.0; n / 1024];
    line("cross-entropy [2048, 1024]", n * 8, || {
        softmax::cross_entropy(threads, &a, 1024, &targets, &mut losses, &mut out)
    })?;
    line("cross-entropy gradient [2048, 1024]", n * 8, || {
        softmax::cross_entropy_gradient(threads, &[1.0], &b, 1024, &targets, &mut out)
    })?;
    line("sums of columns [8192, 256]", n * 4, || sums::columns(threads, &a, &mut dbias))?;
    line("sum of squares [2 M]", n * 4, || {
        std::hint::black_box(sums::squares(threads, &a));
        Ok(())
    })?;
    let indices: Vec<i64> = (0..n as i64 / 256).map(|i| i * i % 977).collect();
    line("scattered rows [8192, 256]", n * 8, || sums::scatter_rows(threads, &a, &indices, 256, &mut out))?;
    pools(threads)?;
    let by = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 1e-4, is_nesterov: true, gradient_scale: 1.0 };
    let [first, second] = &mut spare;
    line("SGD [2 M]", n * 20, || sgd(threads, &by, [&a, &b], &mut out, Some((&a, first))))?;
    let by = Adamw {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 1e-2,
        gradient_scale: 1.0,
        step: 10,
    };
    line("AdamW [2 M]", n * 28, || adamw(threads, &by, [&a, &b], [&a, &b], &mut out, [first, second]))
}

fn pools(threads: &Threads) -> Result<(), ShapeError> {
    let images = Images { n: 16, h: 56, w: 56 };
    for (name, kernel, op) in [("2x2/2", 2, Pool::Max), ("3x3/2", 3, Pool::Max), ("3x3/2", 3, Pool::Average)] {
        let window = Window {
            kernel: [kernel; 2],
            stride: [2; 2],
            dilation: [1; 2],
            pads: if kernel == 3 { [1; 4] } else { [0; 4] },
        };
        let shape = PoolShape { window, channels: 64, op, is_ceil: false };
        let [h, w] = shape.output_size(56, 56)?;
        let x: Vec<f32> = (0..16 * 56 * 56 * 64).map(|i| (i * 7919 % 2003) as f32).collect();
        let (mut y, mut dx) = (vec![0.0; 16 * h * w * 64], x.clone());
        pool::pool(threads, &x, images, &shape, &mut y)?;
        let bytes = 4 * (x.len() + y.len());
        if op != Pool::Max {
            line(&format!("average pool {name} gradient"), bytes, || {
                pool::average_gradient(threads, &y, images, &shape, &mut dx)
            })?;
            continue;
        }
        for (how, y) in [("from x", None), ("from x and y", Some(&y[..]))] {
            line(&format!("max pool {name} gradient {how}"), bytes + 4 * x.len(), || {
                pool::max_gradient(threads, &x[..16 * h * w * 64], Forward { x: &x, y }, images, &shape, &mut dx)
            })?;
        }
    }
    Ok(())
}
