//! How many instructions kernels, reading and planning take: the same on every machine that is busy with other things.
//!
//! `cargo xtask instructions` runs this under Valgrind and compares with `crates/engine/benches/instructions.json`. Valgrind
//! knows no AVX-512, so kernels are counted in their AVX2 and scalar forms, and sessions choose AVX2.

#![allow(missing_docs, reason = "the macros make public items")]

use std::hint::black_box;

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use lissom_engine::{Session, SessionOptions};
use lissom_graph::Model;
use lissom_kernels::conv::{ConvShape, DEPTHWISE, Images, PackedConv, Window, conv};
use lissom_kernels::gemm::{self, Matrix, PackedB, gemm};
use lissom_kernels::qgemm::{self, Output, PackedQB, Requantize, qgemm};
use lissom_kernels::quantize::{Bytes as Quantized, BytesMut};
use lissom_kernels::rows::{self, LayerNorm};
use lissom_kernels::{Activation, Epilogue, Threads};
use lissom_onnx::{ReadOptions, read_model_bytes};
use lissom_tensor::Tensor;

/// The network of the demo: a small ResNet of 28x28 images.
const NETWORK: &[u8] = include_bytes!("../../cli/assets/fashion_resnet.onnx");
// Rows, shared and columns of the products; 50 rows leave a rest in every tile.
const M: usize = 50;
const K: usize = 64;
const N: usize = 96;

/// The variant of a list whose name ends in an instruction set.
fn variant<T>(list: &'static [T], name: fn(&T) -> &str, isa: &str) -> &'static T {
    list.iter().find(|kernel| name(kernel).ends_with(isa)).expect("every list has these")
}

fn packed_product(isa: &str) -> (PackedB, Vec<f32>, Vec<f32>) {
    let kernel = variant(gemm::KERNELS, |kernel| kernel.name, isa);
    let b = Matrix { data: &[0.25; K * N], row_stride: N, col_stride: 1 };
    (PackedB::for_kernel(kernel, b, K, N).expect("sizes fit"), vec![0.5; M * K], vec![0.0; M * N])
}

#[library_benchmark]
#[bench::avx2(args = ("avx2"), setup = packed_product)]
#[bench::scalar(args = ("scalar"), setup = packed_product)]
fn product((packed, a, mut out): (PackedB, Vec<f32>, Vec<f32>)) {
    let epilogue = Epilogue { bias: Some(&[1.0; N]), activation: Activation::Relu, ..Epilogue::default() };
    gemm(&Threads::single(), &a, M, &packed, &epilogue, black_box(&mut out)).expect("sizes fit");
}

fn packed_integers(isa: &str) -> (PackedQB, Vec<u8>, Vec<u8>) {
    let kernel = variant(qgemm::KERNELS, |kernel| kernel.name, isa);
    let packed = PackedQB::for_kernel(kernel, Quantized::I8(&[3; K * N]), [N, 1], K, N, &[]).expect("sizes fit");
    (packed, vec![130; M * K], vec![0; M * N])
}

#[library_benchmark]
#[bench::avx2(args = ("avx2"), setup = packed_integers)]
#[bench::scalar(args = ("scalar"), setup = packed_integers)]
fn integer_product((packed, a, mut out): (PackedQB, Vec<u8>, Vec<u8>)) {
    let requantize =
        Requantize { multipliers: &[1e-3; N], bias: Some(&[100; N]), residual: None, zero_point: 3, clamp: [3, 255] };
    let mut output = Output::Bytes(requantize, BytesMut::U8(black_box(&mut out)));
    qgemm(&Threads::single(), Quantized::U8(&a), 128, M, &packed, &mut output).expect("sizes fit");
}

/// An image and the layer that it goes through.
type Convolution = (PackedConv, Images, Vec<f32>, Vec<f32>);

fn packed_convolution(isa: &str, groups: usize) -> Convolution {
    let (channels, size) = (32, 14);
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1; 4] };
    let shape = ConvShape { window, c_in: channels, c_out: channels, groups };
    let product = variant(gemm::KERNELS, |kernel| kernel.name, isa);
    let depthwise = variant(DEPTHWISE, |kernel| kernel.name, isa);
    let weight = vec![0.01; shape.weight_len()];
    let packed = PackedConv::for_kernels(product, depthwise, shape, &weight).expect("sizes fit");
    let image = vec![0.5; size * size * channels];
    (packed, Images { n: 1, h: size, w: size }, image.clone(), image)
}

#[library_benchmark]
#[bench::avx2(args = ("avx2", 1), setup = packed_convolution)]
#[bench::scalar(args = ("scalar", 1), setup = packed_convolution)]
#[bench::depthwise_avx2(args = ("avx2", 32), setup = packed_convolution)]
#[bench::depthwise_scalar(args = ("scalar", 32), setup = packed_convolution)]
fn convolution((packed, images, image, mut out): Convolution) {
    conv(&Threads::single(), &image, images, &packed, &Epilogue::default(), black_box(&mut out)).expect("sizes fit");
}

fn rows_of_noise(isa: &str) -> (&'static rows::Kernel, Vec<f32>, Vec<f32>) {
    let x: Vec<f32> = (0..64 * 130).map(|i| (i % 17) as f32 * 0.25 - 2.0).collect();
    (variant(rows::KERNELS, |kernel| kernel.name, isa), x.clone(), x)
}

#[library_benchmark]
#[bench::avx2(args = ("avx2"), setup = rows_of_noise)]
#[bench::scalar(args = ("scalar"), setup = rows_of_noise)]
fn softmax((kernel, x, mut out): (&rows::Kernel, Vec<f32>, Vec<f32>)) {
    kernel.softmax(&Threads::single(), &x, 130, None, black_box(&mut out)).expect("sizes fit");
}

#[library_benchmark]
#[bench::avx2(args = ("avx2"), setup = rows_of_noise)]
#[bench::scalar(args = ("scalar"), setup = rows_of_noise)]
fn layer_norm((kernel, x, mut out): (&rows::Kernel, Vec<f32>, Vec<f32>)) {
    let norm = LayerNorm { scale: None, bias: None, epsilon: 1e-12 };
    kernel.layer_norm(&Threads::single(), &x, 130, Some(&x), &norm, black_box(&mut out)).expect("sizes fit");
}

#[library_benchmark]
fn read_onnx() -> Model {
    network()
}

fn network() -> Model {
    let file = read_model_bytes(Bytes::from_static(NETWORK), &ReadOptions::default()).expect("the demo's network");
    Model::from_proto(file.model, lissom_ops::OPERATORS).expect("the demo's network")
}

fn session(model: &Model) -> Session {
    Session::new(model, &SessionOptions { threads: 1, ..SessionOptions::default() }).expect("the demo's network")
}

fn run(session: &Session) -> Vec<Tensor> {
    let shape: Vec<usize> = session.inputs()[0].shape.iter().flatten().map(|length| length.unwrap_or(1)).collect();
    let image = Tensor::new(shape.clone(), vec![0.5f32; shape.iter().product()]).expect("as long as its shape");
    session.run(&[(&session.inputs()[0].name, &image)]).expect("the demo's network")
}

fn loaded() -> Session {
    let session = session(&network());
    run(&session);
    session
}

// The first run plans.
#[library_benchmark]
#[bench::demo(setup = network)]
fn plan_and_run(model: Model) -> Vec<Tensor> {
    run(&session(&model))
}

#[library_benchmark]
#[bench::demo(setup = loaded)]
fn run_planned(session: Session) -> Vec<Tensor> {
    run(&session)
}

library_benchmark_group!(
    name = kernels;
    benchmarks = product, integer_product, convolution, softmax, layer_norm
);
library_benchmark_group!(name = network_loading; benchmarks = read_onnx, plan_and_run, run_planned);
main!(library_benchmark_groups = kernels, network_loading);
