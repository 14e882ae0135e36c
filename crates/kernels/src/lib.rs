//! Inner loops as plain functions over slices. They know no graph and no tensor type, only lengths.
//!
//! # The rules
//! - **Layout.** Images are NHWC, `[n, h, w, channels]`, channels adjacent; matrices are row-major. [`permute`] converts.
//! - **Threads.** Every function that is worth splitting takes a [`Threads`] handle (clone it, share it; make one a
//!   session). Tasks write disjoint outputs and no sum is ever split by threads, so results are the same bytes at any number of
//!   threads. They may differ between instruction sets; integer kernels are equal on all.
//! - **Constants are packed once**: [`gemm::PackedB`], [`conv::PackedConv`], [`bgemm::PackedBf16`], [`qgemm::PackedQB`],
//!   [`qconv::PackedQConv`], [`spmm::PackedSpmm`], [`spmv::PackedSpmv`], [`gemm24::Packed24`]. Packing picks the fastest variant of this CPU.
//!   Weights that change, as in training, are packed into memory of the caller: [`gemm::pack_into`], [`conv::pack_into`],
//!   [`conv_grad::pack_input_gradient_into`].
//! - **bf16.** Images and matrices in bf16 are pairs: two channels (columns) in the bits of an f32, the first in the lower half, an
//!   odd one with a partner of 0 ([`bgemm::round_into`], [`bgemm::widen_into`]). Rounding is to nearest even, subnormals to zero; sums
//!   are f32, two products at a time.
//! - **Checked.** Lengths are compared before anything is written; what does not fit is a [`ShapeError`], never a panic.
//! - **NaN** goes through every f32 function (`relu(NaN)` is NaN), except into integers, where it becomes the smallest.
//! - Sizes of 0 are fine wherever the mathematics says what the answer is.
//! - Each family has a list, fastest first, that dispatch, tests and benches walk ([`gemm::KERNELS`], …). A new variant
//!   is a file and an entry.
//!
//! # What is where
//! | to do | call |
//! |---|---|
//! | `[m, k] · constant [k, n]` + bias + residual, activation | [`gemm::gemm`] with a [`gemm::PackedB`], an [`Epilogue`] |
//! | few rows times a constant in 8- or 4-bit codes | [`wgemm::wgemm`] with a [`wgemm::PackedW`] |
//! | a constant that is mostly zeros | [`spmm::spmm`] with a [`spmm::PackedSpmm`]; few rows: [`spmv::spmv`]; integers: [`qspmm::qspmm`] |
//! | a constant that is 2:4 | [`gemm24::gemm24`] with a [`gemm24::Packed24`]; integers: [`qspmm::Form::TwoOfFour`] |
//! | many products of two variable sides, any strides | [`gemm::batched`] with a [`gemm::Batch`] |
//! | softmax(scale · Q Kᵀ + mask) · V of many heads | [`attention::attention`] with an [`attention::Attention`] |
//! | the same of codes, in integers | [`qattention::attention`] |
//! | convolution, grouped, depthwise, dilated + the same epilogue | [`conv::conv`] with a [`conv::PackedConv`] |
//! | the same with a weight that changes, packed into the caller's memory | [`conv::conv_packed`], [`gemm::gemm_packed`] |
//! | gradients of a convolution | [`conv_grad::conv_input_gradient`], [`conv_grad::conv_weight_gradient`] |
//! | a convolution whose weight changes and is mostly zeros, and its gradients | [`masked_conv::conv`], [`masked_conv::input_gradient`], [`masked_conv::weight_gradient`] |
//! | the same products and convolutions in bf16, summed in f32 | [`bgemm::bgemm`], [`bgemm::bconv`] with a [`bgemm::PackedBf16`] |
//! | the same with a weight that changes, images as pairs of bf16 | [`bgemm::round_into`], [`conv::conv_pairs`], [`bgemm::bgemm_packed`] |
//! | gradients of these | [`conv_grad::conv_input_gradient_pairs`], [`conv_grad::conv_weight_gradient_pairs`] |
//! | integer product, integer convolution | [`qgemm::qgemm`], [`qconv::qconv`] into a [`qgemm::Output`] |
//! | the same with weights that are mostly zero | [`qspmm::qspmm`] with a [`qspmm::PackedQSpmm`] |
//! | f32 to u8/i8 and back | [`quantize::quantize`], [`quantize::dequantize`] |
//! | relu, sigmoid, gelu, exp, … | [`elementwise::unary`], [`elementwise::unary_in_place`] |
//! | add, mul, max, … with broadcast | [`elementwise::binary`], [`elementwise::binary_in_place`] |
//! | batch norm left over, any affine map of the last axis | [`elementwise::scale_bias`] |
//! | batch norm of a batch, + residual + ReLU, and its gradients | [`batch_norm::statistics`], [`batch_norm::normalize`], [`batch_norm::gradient`] |
//! | the same of images that are pairs of bf16 | [`batch_norm::statistics_pairs`], [`batch_norm::normalize_pairs`], [`batch_norm::gradient_pairs`] |
//! | softmax, layer norm (+ residual), sums, means, maxima | [`rows::softmax`], [`rows::layer_norm`], [`rows::reduce`] |
//! | layer norm and RMS norm that save what their gradients need, and these | [`layer_norm::normalize`], [`layer_norm::gradient`] |
//! | log-softmax, gradients of both, cross-entropy | [`softmax::log_softmax`], [`softmax::gradient`], [`softmax::cross_entropy`] |
//! | gradients of relu, gelu, sigmoid, … | [`elementwise::binary`] with an [`elementwise::Binary::ReluGrad`], … |
//! | gradients of biases and embeddings, norms of gradients | [`sums::columns`], [`sums::scatter_rows`], [`sums::squares`] |
//! | a step of SGD or AdamW | [`optimizer::sgd`], [`optimizer::adamw`] |
//! | max and average pooling | [`pool::pool`], [`pool::max_pool_bytes`]; [`pool::max_gradient`], [`pool::average_gradient`]; global: [`rows::reduce`] with `[n, h·w, c]` |
//! | what quantization leaves of f32, in training, and its gradients | [`step_quantize::quantize`], [`step_quantize::gradient`] |
//! | NCHW to NHWC and back, any `Transpose` | [`permute::transpose`], [`permute::permute`], and both of bytes |
//!
//! 1-D convolutions and pools are images with `h = 1`. An [`Activation::Curve`] in an epilogue runs any
//! [`elementwise::Unary`] on the output while it is in cache.
//!
//! # Example
//! ```
//! use lissom_kernels::conv::{ConvShape, Images, PackedConv, Window, conv};
//! use lissom_kernels::{Activation, Epilogue, ShapeError, Threads};
//!
//! let threads = Threads::new(2);
//! let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pads: [1, 1, 1, 1] };
//! let shape = ConvShape { window, c_in: 2, c_out: 4, groups: 1 };
//! let packed = PackedConv::new(shape, &[0.5; 4 * 2 * 3 * 3])?; // once, weights as ONNX has them
//!
//! let input = [1.0; 5 * 5 * 2]; // NHWC
//! let [h, w] = window.output_size(5, 5)?;
//! let mut out = vec![0.0; h * w * 4];
//! let epilogue = Epilogue { bias: Some(&[-8.5; 4]), residual: None, activation: Activation::Relu };
//! conv(&threads, &input, Images { n: 1, h: 5, w: 5 }, &packed, &epilogue, &mut out)?;
//! assert_eq!(out[0], 0.0); // a corner sees four of nine pixels: 8 · 0.5 - 8.5 < 0
//! assert_eq!(out[(5 + 1) * 4], 0.5); // inside: 18 · 0.5 - 8.5
//! # Ok::<(), ShapeError>(())
//! ```

pub mod activation;
pub mod attention;
pub mod batch_norm;
pub mod bgemm;
mod channels;
pub mod conv;
pub mod conv_grad;
pub mod elementwise;
pub mod error;
pub mod gemm;
pub mod gemm24;
mod isa;
pub mod layer_norm;
pub mod masked_conv;
pub mod memory;
pub mod optimizer;
mod order;
pub mod peak;
pub mod permute;
pub mod pool;
pub mod qattention;
pub mod qconv;
pub mod qgemm;
pub mod qspmm;
pub mod quantize;
pub mod rows;
mod simd;
pub mod softmax;
pub mod spmm;
pub mod spmv;
pub mod step_quantize;
pub mod sums;
pub mod threads;
pub mod wgemm;

pub use activation::{Activation, Epilogue};
pub use error::ShapeError;
pub use isa::cpu_name;
pub use threads::{Pool, Threads};
