//! Every variant of the integer convolution, one thread.

#![allow(missing_docs, reason = "`criterion_group!` makes a public function")]

mod layers;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use layers::Layer;
use lissom_kernels::Threads;
use lissom_kernels::qconv::{PackedQConv, qconv};
use lissom_kernels::qgemm::{KERNELS, Kernel, Output, Requantize};
use lissom_kernels::quantize::{Bytes, BytesMut};

fn convolutions(criterion: &mut Criterion) {
    for layer in layers::convolutions() {
        let mut group = criterion.benchmark_group(format!("qconv {}", layer.name));
        group.throughput(Throughput::Elements(layer.shape.macs(layer.pixels) as u64));
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut run = prepared(&layer, kernel);
            group.bench_function(kernel.name, |bencher| bencher.iter(&mut run));
        }
    }
}

fn prepared(layer: &Layer, kernel: &'static Kernel) -> impl FnMut() + use<> {
    let Layer { shape, images, pixels, .. } = *layer;
    let weight = vec![3i8; shape.weight_len()];
    let packed = PackedQConv::for_kernel(kernel, shape, Bytes::I8(&weight), &[]).expect("sizes fit");
    let input = vec![130u8; images.h * images.w * shape.c_in];
    let (bias, multipliers) = (vec![100i32; shape.c_out], vec![1e-3f32; shape.c_out]);
    let mut out = vec![0u8; pixels * shape.c_out];
    let threads = Threads::single();
    move || {
        let requantize =
            Requantize { multipliers: &multipliers, bias: Some(&bias), residual: None, zero_point: 3, clamp: [3, 255] };
        let mut output = Output::Bytes(requantize, BytesMut::U8(&mut out));
        qconv(&threads, Bytes::U8(&input), 128, images, &packed, &mut output).expect("sizes fit");
    }
}

criterion_group! { name = all; config = layers::criterion(); targets = convolutions }
criterion_main!(all);
