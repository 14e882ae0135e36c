//! Every variant of the f32 and the integer product, one thread.

#![allow(missing_docs, reason = "`criterion_group!` makes a public function")]

mod layers;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lissom_kernels::gemm::{self, Matrix, PackedB};
use lissom_kernels::qgemm::{self, Output, PackedQB, Requantize};
use lissom_kernels::quantize::{Bytes, BytesMut};
use lissom_kernels::{Activation, Epilogue, Threads};

fn float(criterion: &mut Criterion) {
    let threads = Threads::single();
    for &[m, k, n] in layers::PRODUCTS {
        let mut group = criterion.benchmark_group(format!("gemm {m}x{k}x{n}"));
        group.throughput(Throughput::Elements((m * k * n) as u64));
        let (a, b, bias) = (vec![0.5f32; m * k], vec![0.25f32; k * n], vec![1.0f32; n]);
        let mut out = vec![0.0f32; m * n];
        for kernel in gemm::KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let b = Matrix { data: &b, row_stride: n, col_stride: 1 };
            let packed = PackedB::for_kernel(kernel, b, k, n).expect("sizes fit");
            let epilogue = Epilogue { bias: Some(&bias), activation: Activation::Relu, ..Epilogue::default() };
            group.bench_function(kernel.name, |bencher| {
                bencher.iter(|| gemm::gemm(&threads, &a, m, &packed, &epilogue, &mut out).expect("sizes fit"));
            });
        }
    }
}

fn integer(criterion: &mut Criterion) {
    let threads = Threads::single();
    for &[m, k, n] in layers::PRODUCTS {
        let mut group = criterion.benchmark_group(format!("qgemm {m}x{k}x{n}"));
        group.throughput(Throughput::Elements((m * k * n) as u64));
        let (a, b) = (vec![130u8; m * k], vec![3i8; k * n]);
        let (bias, multipliers) = (vec![100i32; n], vec![1e-3f32; n]);
        let mut out = vec![0u8; m * n];
        for kernel in qgemm::KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = PackedQB::for_kernel(kernel, Bytes::I8(&b), [n, 1], k, n, &[]).expect("sizes fit");
            group.bench_function(kernel.name, |bencher| {
                bencher.iter(|| {
                    let requantize = Requantize {
                        multipliers: &multipliers,
                        bias: Some(&bias),
                        residual: None,
                        zero_point: 3,
                        clamp: [3, 255],
                    };
                    let mut output = Output::Bytes(requantize, BytesMut::U8(&mut out));
                    qgemm::qgemm(&threads, Bytes::U8(&a), 128, m, &packed, &mut output).expect("sizes fit");
                });
            });
        }
    }
}

criterion_group! { name = products; config = layers::criterion(); targets = float, integer }
criterion_main!(products);
