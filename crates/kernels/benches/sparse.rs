//! Every variant of the forms of weights with zeros, one thread: 90 % without a pattern and in blocks, and 2:4.

#![allow(missing_docs, reason = "`criterion_group!` makes a public function")]

mod layers;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use layers::Layer;
use lissom_kernels::conv::{Channels, ConvShape, Images, Window};
use lissom_kernels::gemm24::{self, Packed24, gemm24};
use lissom_kernels::qgemm::{Output, Requantize};
use lissom_kernels::qspmm::{self, Form, PackedQSpmm, qspmm};
use lissom_kernels::quantize::{Bytes, BytesMut};
use lissom_kernels::spmm::{self, PackedSpmm, spmm};
use lissom_kernels::spmv::{self, PackedSpmv, spmv};
use lissom_kernels::{Activation, Epilogue, Threads};

/// Convolutions of one group, and the classifier as one of a pixel.
fn layers() -> Vec<Layer> {
    let mut layers = layers::convolutions();
    layers.retain(|layer| layer.shape.groups == 1 && layer.shape.c_in >= 4);
    for &[m, k, n] in layers::PRODUCTS.iter().filter(|[m, ..]| *m < 196) {
        let shape = ConvShape { window: Window::POINT, c_in: k, c_out: n, groups: 1 };
        let name = if m == 1 { "resnet50 classifier" } else { "minilm 384-1536, 128 tokens" };
        layers.push(Layer { name, shape, images: Images { n: 1, h: 1, w: m }, pixels: m });
    }
    layers
}

/// `[c_out, c_in, kh, kw]`: a tenth of the blocks of so many outputs by inputs is kept; of 2:4 (no outputs) the first and third.
fn weight(shape: &ConvShape, [outputs, inputs]: [usize; 2]) -> Vec<i8> {
    let taps = shape.window.kernel[0] * shape.window.kernel[1];
    let k = taps * shape.c_in;
    let is_kept = |at: usize| {
        let (output, input, tap) = (at / k, at % k / taps, at % taps);
        if outputs == 0 {
            return input % 2 == 0;
        }
        let block = (output / outputs * shape.c_in + input / inputs) * taps + tap;
        (block as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 & 0xFFFF < 0xFFFF / 10
    };
    (0..shape.weight_len()).map(|at| if is_kept(at) { 3 } else { 0 }).collect()
}

fn group<'a>(criterion: &'a mut Criterion, family: &str, layer: &Layer) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("{family} {}", layer.name));
    group.throughput(Throughput::Elements(layer.shape.macs(layer.pixels) as u64));
    group
}

fn float(criterion: &mut Criterion) {
    let threads = Threads::single();
    for layer in layers() {
        let Layer { shape, images, pixels, .. } = layer;
        let mut group = group(criterion, "f32", &layer);
        let (input, bias) = (vec![0.5f32; images.h * images.w * shape.c_in], vec![0.1f32; shape.c_out]);
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        let mut out = vec![0.0f32; pixels * shape.c_out];
        let real = |block| -> Vec<f32> { weight(&shape, block).iter().map(|&weight| weight.into()).collect() };
        for kernel in spmm::KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let weight = real([kernel.block_rows, kernel.depth]);
            let packed = PackedSpmm::for_kernel(kernel, shape, &weight).expect("sizes fit");
            let at = Channels::Last;
            group.bench_function(kernel.name, |bencher| {
                bencher
                    .iter(|| spmm(&threads, &input, images, at, &packed, &epilogue, at, &mut out).expect("sizes fit"));
            });
        }
        for kernel in spmv::KERNELS.iter().filter(|kernel| (kernel.is_supported)() && pixels == 1) {
            let weight = real([1, kernel.depth]);
            let packed = PackedSpmv::for_kernel(kernel, &weight, shape.c_in, shape.c_out, true).expect("sizes fit");
            group.bench_function(kernel.name, |bencher| {
                bencher.iter(|| spmv(&threads, &input, 1, &packed, &epilogue, &mut out).expect("sizes fit"));
            });
        }
        for kernel in gemm24::KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = Packed24::for_kernel(kernel, shape, &real([0, 0]), false).expect("sizes fit");
            group.bench_function(kernel.name, |bencher| {
                bencher.iter(|| gemm24(&threads, &input, images, &packed, &epilogue, &mut out).expect("sizes fit"));
            });
        }
    }
}

fn integer(criterion: &mut Criterion) {
    let threads = Threads::single();
    for layer in layers() {
        let Layer { shape, images, pixels, .. } = layer;
        let mut group = group(criterion, "int8", &layer);
        let input = vec![130u8; images.h * images.w * shape.c_in];
        let (bias, multipliers) = (vec![100i32; shape.c_out], vec![1e-3f32; shape.c_out]);
        let mut out = vec![0u8; pixels * shape.c_out];
        let forms =
            [(Form::Gather, [1, 1]), (Form::Blocks, [1, 4]), (Form::Blocks4x1, [4, 1]), (Form::TwoOfFour, [0, 0])];
        for kernel in qspmm::KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            for (form, block) in forms {
                let weight = weight(&shape, block);
                let packed = PackedQSpmm::for_kernel(kernel, shape, Bytes::I8(&weight), false, &[], form);
                let packed = packed.expect("sizes fit");
                group.bench_function(format!("{} {form:?}", kernel.name), |bencher| {
                    bencher.iter(|| {
                        let (multipliers, bias) = (&multipliers[..], Some(&bias[..]));
                        let finish = Requantize { multipliers, bias, residual: None, zero_point: 3, clamp: [3, 255] };
                        let mut output = Output::Bytes(finish, BytesMut::U8(&mut out));
                        qspmm(&threads, Bytes::U8(&input), 128, images, &packed, &mut output).expect("sizes fit");
                    });
                });
            }
        }
    }
}

criterion_group! { name = all; config = layers::criterion(); targets = float, integer }
criterion_main!(all);
