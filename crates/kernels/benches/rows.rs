//! Every variant of softmax, layer norm and the mean, at the sizes of MiniLM and ResNet-50, one thread.

#![allow(missing_docs, reason = "`criterion_group!` makes a public function")]

mod layers;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lissom_kernels::Threads;
use lissom_kernels::rows::{KERNELS, LayerNorm, Reduction};

fn rows(criterion: &mut Criterion) {
    let threads = &Threads::single();
    let mut group = criterion.benchmark_group("softmax 12x128x128");
    let x: Vec<f32> = (0..12 * 128 * 128).map(|i| (i % 17) as f32 * 0.25 - 2.0).collect();
    let mut out = vec![0.0f32; x.len()];
    group.throughput(Throughput::Elements(x.len() as u64));
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        group.bench_function(kernel.name, |bencher| {
            bencher.iter(|| kernel.softmax(threads, &x, 128, None, &mut out).expect("sizes fit"));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("layer norm + residual 128x384");
    let (x, scale) = (&x[..128 * 384], vec![1.0f32; 384]);
    let norm = LayerNorm { scale: Some(&scale), bias: Some(&scale), epsilon: 1e-12 };
    group.throughput(Throughput::Elements(x.len() as u64));
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        group.bench_function(kernel.name, |bencher| {
            bencher
                .iter(|| kernel.layer_norm(threads, x, 384, Some(x), &norm, &mut out[..x.len()]).expect("sizes fit"));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("mean 49x2048");
    let x = vec![0.5f32; 49 * 2048];
    group.throughput(Throughput::Elements(x.len() as u64));
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        group.bench_function(kernel.name, |bencher| {
            let out = &mut out[..2048];
            bencher.iter(|| kernel.reduce(threads, Reduction::Mean, &x, [1, 49, 2048], out).expect("sizes fit"));
        });
    }
}

criterion_group! { name = all; config = layers::criterion(); targets = rows }
criterion_main!(all);
