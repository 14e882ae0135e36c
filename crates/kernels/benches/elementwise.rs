//! Every variant of functions of one and of two numbers, over a map of 28x28x512, one thread.

#![allow(missing_docs, reason = "`criterion_group!` makes a public function")]

mod layers;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lissom_kernels::elementwise::{Binary, KERNELS, Operand, Unary};

fn elementwise(criterion: &mut Criterion) {
    let n = 28 * 28 * 512;
    let x: Vec<f32> = (0..n).map(|i| (i % 97) as f32 * 0.1 - 4.8).collect();
    let row = vec![0.5f32; 512];
    let mut out = vec![0.0f32; n];
    let unary = [Unary::Relu, Unary::Sigmoid, Unary::Gelu, Unary::Exp];
    let binary = [("Add", Operand::Same(&x)), ("Add a row", Operand::Row(&row))];

    for op in unary {
        let mut group = criterion.benchmark_group(format!("elementwise {op:?}"));
        group.throughput(Throughput::Elements(n as u64));
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            group.bench_function(kernel.name, |bencher| {
                bencher.iter(|| kernel.unary(op, &x, &mut out).expect("sizes fit"));
            });
        }
    }
    for (name, operand) in binary {
        let mut group = criterion.benchmark_group(format!("elementwise {name}"));
        group.throughput(Throughput::Elements(n as u64));
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            group.bench_function(kernel.name, |bencher| {
                bencher.iter(|| kernel.binary(Binary::Add, &x, operand, &mut out).expect("sizes fit"));
            });
        }
    }
}

criterion_group! { name = all; config = layers::criterion(); targets = elementwise }
criterion_main!(all);
