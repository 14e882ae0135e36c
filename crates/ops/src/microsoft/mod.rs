//! Operators of `com.microsoft`, which ONNX Runtime's quantizer, optimizer and training write into models.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

mod qlinear;
mod scattered;

pub(crate) mod activation_grad;
pub(crate) mod average_pool_grad;
pub(crate) mod batch_norm_internal;
pub(crate) mod batch_normalization_grad;
pub(crate) mod bias_gelu;
pub(crate) mod broadcast_gradient_args;
pub(crate) mod conv_grad;
pub(crate) mod dequantize_linear;
pub(crate) mod dropout_grad;
pub(crate) mod dynamic_quantize_matmul;
pub(crate) mod fast_gelu;
pub(crate) mod fast_gelu_grad;
pub(crate) mod fused_conv;
pub(crate) mod fused_matmul;
pub(crate) mod gather_elements_grad;
pub(crate) mod gather_grad;
pub(crate) mod gather_nd_grad;
pub(crate) mod gelu;
pub(crate) mod gelu_grad;
pub(crate) mod layer_normalization_grad;
pub(crate) mod log_softmax_grad;
pub(crate) mod log_softmax_grad_13;
pub(crate) mod matmul_integer_to_float;
pub(crate) mod matmul_nbits;
pub(crate) mod max_pool_grad;
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
pub(crate) mod relu_grad;
pub(crate) mod sigmoid_grad;
pub(crate) mod skip_layer_normalization;
pub(crate) mod slice_grad;
pub(crate) mod softmax_cross_entropy_loss_internal;
pub(crate) mod softmax_cross_entropy_loss_internal_grad;
pub(crate) mod softmax_grad;
pub(crate) mod softmax_grad_13;
pub(crate) mod tanh_grad;

pub use activation_grad::ActivationGrad;
pub use average_pool_grad::AveragePoolGrad;
pub use batch_norm_internal::BatchNormInternal;
pub use batch_normalization_grad::BatchNormalizationGrad;
pub use broadcast_gradient_args::BroadcastGradientArgs;
pub use conv_grad::ConvGrad;
pub use dropout_grad::DropoutGrad;
pub use gather_elements_grad::GatherElementsGrad;
pub use gather_grad::GatherGrad;
pub use gather_nd_grad::GatherNDGrad;
pub use layer_normalization_grad::LayerNormalizationGrad;
pub use max_pool_grad::MaxPoolGrad;
pub use slice_grad::SliceGrad;
pub use softmax_cross_entropy_loss_internal::SoftmaxCrossEntropyLossInternal;
pub use softmax_cross_entropy_loss_internal_grad::SoftmaxCrossEntropyLossInternalGrad;
pub use softmax_grad::SoftmaxGrad;
