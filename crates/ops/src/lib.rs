//! The operators, one file each. An operator is a file here, its `mod` line and its line in [`OPS`]; tests, documentation
//! and the command line walk the list.
//!
//! [`evaluate`](lissom_graph::Op::evaluate) is the plain, obviously right version; the engine's fast kernels are held to
//! it. Pieces that several operators are made of: [`elementwise`] (maps and broadcasting), [`axes`] (axis arithmetic),
//! [`window`] (padding and strides of convolutions and pools).

mod axes;
mod elementwise;
mod gradient;
mod normalized_axes;
mod numeric;
mod pool;
mod product;
mod quantization;
mod recurrent;
mod reduce;
mod sample_data;
mod small_float;
mod softmax_axis;
mod window;

mod add;
mod average_pool;
mod batch_normalization;
mod conv;
mod conv_integer;
mod conv_transpose;
mod dequantize_linear;
mod dropout;
mod dynamic_quantize_linear;
mod einsum;
mod gemm;
mod global_average_pool;
mod global_max_pool;
mod gru;
mod hardmax;
mod instance_normalization;
mod layer_normalization;
mod log_softmax;
mod lstm;
mod matmul;
mod matmul_integer;
mod max_pool;
mod qlinear_conv;
mod qlinear_matmul;
mod quantize_linear;
mod reduce_l1;
mod reduce_l2;
mod reduce_log_sum;
mod reduce_log_sum_exp;
mod reduce_max;
mod reduce_mean;
mod reduce_min;
mod reduce_prod;
mod reduce_sum;
mod reduce_sum_square;
mod relu;
mod rnn;
mod softmax;

pub use add::Add;
pub use average_pool::AveragePool;
pub use batch_normalization::BatchNormalization;
pub use conv::Conv;
pub use conv_integer::ConvInteger;
pub use conv_transpose::ConvTranspose;
pub use dequantize_linear::DequantizeLinear;
pub use dropout::Dropout;
pub use dynamic_quantize_linear::DynamicQuantizeLinear;
pub use einsum::{Einsum, Equation, Label, Term};
pub use gemm::Gemm;
pub use global_average_pool::GlobalAveragePool;
pub use global_max_pool::GlobalMaxPool;
pub use gru::Gru;
pub use instance_normalization::InstanceNormalization;
pub use layer_normalization::LayerNormalization;
pub use log_softmax::LogSoftmax;
pub use lstm::Lstm;
pub use matmul::MatMul;
pub use matmul_integer::MatMulInteger;
pub use max_pool::MaxPool;
pub use qlinear_conv::QLinearConv;
pub use qlinear_matmul::QLinearMatMul;
pub use quantization::Granularity;
pub use quantize_linear::QuantizeLinear;
pub use recurrent::{Direction, GateActivation, Recurrent};
pub use reduce::{Reduce, Reduction};
pub use relu::Relu;
pub use rnn::Rnn;
pub use softmax::Softmax;
pub use softmax_axis::SoftmaxAxis;
pub use window::{AutoPad, Window};

use lissom_graph::{OpSpec, Operators};

/// All operators, alphabetically, ONNX's own domain first.
pub static OPS: &[OpSpec] = &[
    add::OP,
    average_pool::OP,
    batch_normalization::OP,
    conv::OP,
    conv_integer::OP,
    conv_transpose::OP,
    dequantize_linear::OP,
    dropout::OP,
    dynamic_quantize_linear::OP,
    einsum::OP,
    gru::OP,
    gemm::OP,
    global_average_pool::OP,
    global_max_pool::OP,
    hardmax::OP,
    instance_normalization::OP,
    lstm::OP,
    layer_normalization::OP,
    log_softmax::OP,
    matmul::OP,
    matmul_integer::OP,
    max_pool::OP,
    qlinear_conv::OP,
    qlinear_matmul::OP,
    quantize_linear::OP,
    rnn::OP,
    reduce_l1::OP,
    reduce_l2::OP,
    reduce_log_sum::OP,
    reduce_log_sum_exp::OP,
    reduce_max::OP,
    reduce_mean::OP,
    reduce_min::OP,
    reduce_prod::OP,
    reduce_sum::OP,
    reduce_sum_square::OP,
    relu::OP,
    softmax::OP,
];

/// [`OPS`] as a graph wants it.
pub const OPERATORS: Operators = Operators(OPS);
