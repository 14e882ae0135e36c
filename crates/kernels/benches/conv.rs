//! Every variant of the f32 convolution, one thread.

#![allow(missing_docs, reason = "`criterion_group!` makes a public function")]

mod layers;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use layers::Layer;
use lissom_kernels::conv::{DEPTHWISE, Depthwise, PackedConv, conv};
use lissom_kernels::gemm::{self, KERNELS};
use lissom_kernels::{Activation, Epilogue, Threads};

fn convolutions(criterion: &mut Criterion) {
    for layer in layers::convolutions() {
        let mut group = criterion.benchmark_group(format!("conv {}", layer.name));
        group.throughput(Throughput::Elements(layer.shape.macs(layer.pixels) as u64));
        let is_depthwise = layer.shape.groups == layer.shape.c_in;
        let products = KERNELS.iter().filter(|kernel| !is_depthwise && (kernel.is_supported)());
        let depthwise = DEPTHWISE.iter().filter(|kernel| is_depthwise && (kernel.is_supported)());
        let variants = products
            .map(|kernel| (kernel.name, kernel, Depthwise::best()))
            .chain(depthwise.map(|kernel| (kernel.name, gemm::Kernel::best(), kernel)));
        for (name, product, depthwise) in variants {
            let mut run = prepared(&layer, product, depthwise);
            group.bench_function(name, |bencher| bencher.iter(&mut run));
        }
    }
}

fn prepared(layer: &Layer, product: &'static gemm::Kernel, depthwise: &'static Depthwise) -> impl FnMut() + use<> {
    let Layer { shape, images, pixels, .. } = *layer;
    let weight = vec![0.01; shape.weight_len()];
    let packed = PackedConv::for_kernels(product, depthwise, shape, &weight).expect("sizes fit");
    let (input, bias) = (vec![0.5f32; images.h * images.w * shape.c_in], vec![0.1f32; shape.c_out]);
    let mut out = vec![0.0f32; pixels * shape.c_out];
    let threads = Threads::single();
    move || {
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        conv(&threads, &input, images, &packed, &epilogue, &mut out).expect("sizes fit");
    }
}

criterion_group! { name = all; config = layers::criterion(); targets = convolutions }
criterion_main!(all);
