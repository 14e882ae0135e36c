//! GFLOP/s of the kernels at the layer shapes of ResNet-50, MobileNetV1 and MiniLM-6 (128 tokens), batch 1.
//!
//! `cargo run --release -p lissom-kernels --example shapes [threads]`; every line is the best of several short runs.

use lissom_kernels::gemm::{Batch, PackedB, batched, gemm};
use lissom_kernels::{Activation, Epilogue, Threads};
use std::time::Instant;

fn main() {
    let n_threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    let threads = Threads::new(n_threads);
    println!("{n_threads} threads");
    fork_join(&threads);
    for [m, k, n] in [[3136, 64, 256], [3136, 256, 64], [784, 512, 128], [784, 128, 512], [196, 1024, 256], [196, 256, 1024], [49, 2048, 512], [49, 512, 2048], [1, 2048, 1000], [128, 384, 384], [128, 384, 1536], [128, 1536, 384], [1024, 1024, 1024]] {
        gemm_shape(&threads, m, k, n);
    }
    attention(&threads, 12, 128, 32);
}

/// Seconds of the fastest of several runs of `work`.
fn best_s(mut work: impl FnMut()) -> f64 {
    work();
    let mut best = f64::INFINITY;
    let started = Instant::now();
    let mut runs = 0;
    while runs < 3 || started.elapsed().as_millis() < 150 {
        let begun = Instant::now();
        work();
        best = best.min(begun.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

fn line(name: &str, macs: usize, seconds: f64) {
    println!("{name:44} {:9.4} ms {:7.1} GFLOP/s", seconds * 1e3, 2e-9 * macs as f64 / seconds);
}

fn fork_join(threads: &Threads) {
    let seconds = best_s(|| {
        for _ in 0..100 {
            threads.run(2, |_| {});
        }
    });
    println!("fork and join: {:.2} us", seconds * 1e4);
}

fn gemm_shape(threads: &Threads, m: usize, k: usize, n: usize) {
    let (a, b, bias) = (vec![0.5f32; m * k], vec![0.25f32; k * n], vec![1.0f32; n]);
    let packed = PackedB::new(&b, k, n).expect("sizes fit");
    let mut out = vec![0.0f32; m * n];
    let epilogue = Epilogue { bias: Some(&bias), activation: Activation::Relu, ..Epilogue::default() };
    let seconds = best_s(|| gemm(threads, &a, m, &packed, &epilogue, &mut out).expect("sizes fit"));
    line(&format!("gemm {m}x{k}x{n}"), m * k * n, seconds);
}

fn attention(threads: &Threads, heads: usize, tokens: usize, d: usize) {
    let (q, kv) = (vec![0.5f32; tokens * heads * d], vec![0.25f32; tokens * heads * d]);
    let mut scores = vec![0.0f32; heads * tokens * tokens];
    let offsets: Vec<_> = (0..heads).map(|h| [h * d, h * d, h * tokens * tokens]).collect();
    let width = heads * d;
    let batch = Batch {
        m: tokens,
        k: d,
        n: tokens,
        a_strides: [width, 1],
        b_strides: [1, width],
        out_stride: tokens,
        offsets: &offsets,
        scale: 0.25,
        activation: Activation::None,
    };
    let seconds = best_s(|| batched(threads, &batch, &q, &kv, &mut scores).expect("sizes fit"));
    line("attention scores", heads * tokens * tokens * d, seconds);
    let offsets: Vec<_> = (0..heads).map(|h| [h * tokens * tokens, h * d, h * d]).collect();
    let batch = Batch { k: tokens, n: d, a_strides: [tokens, 1], b_strides: [width, 1], out_stride: width, offsets: &offsets, ..batch };
    let mut mixed = vec![0.0f32; tokens * width];
    let seconds = best_s(|| batched(threads, &batch, &scores, &kv, &mut mixed).expect("sizes fit"));
    line("attention values", heads * tokens * tokens * d, seconds);
}
