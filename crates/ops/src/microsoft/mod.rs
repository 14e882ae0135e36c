//! Operators of `com.microsoft`, which ONNX Runtime's quantizer and optimizer write into models.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

mod qlinear;

pub(crate) mod bias_gelu;
pub(crate) mod dequantize_linear;
pub(crate) mod dynamic_quantize_matmul;
pub(crate) mod fast_gelu;
pub(crate) mod fused_conv;
pub(crate) mod fused_matmul;
pub(crate) mod gelu;
pub(crate) mod matmul_integer_to_float;
pub(crate) mod matmul_nbits;
pub(crate) mod qgemm;
pub(crate) mod qlinear_add;
pub(crate) mod qlinear_average_pool;
pub(crate) mod qlinear_concat;
pub(crate) mod qlinear_global_average_pool;
pub(crate) mod qlinear_leaky_relu;
pub(crate) mod qlinear_mul;
pub(crate) mod qlinear_sigmoid;
pub(crate) mod qlinear_softmax;
pub(crate) mod quantize_linear;
pub(crate) mod skip_layer_normalization;
