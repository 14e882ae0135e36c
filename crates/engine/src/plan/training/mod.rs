//! Operators of training, one file each: how a node becomes steps, and the kernels these run. The list [`LOWERINGS`].
//!
//! Here weights are computed like anything else: they are packed by a step of the plan, into the arena, on every run.

mod activation;
mod activation_grad;
mod batch_norm;
mod batch_norm_bf16;
mod columns;
mod conv;
mod conv_bf16;
mod conv_grad;
mod conv_grad_bf16;
mod descent;
mod layer_norm;
mod masked;
mod pool;
mod product;
mod product_bf16;
mod slice;
mod softmax;
mod step_quantize;

use lissom_graph::Node;

pub(super) use batch_norm::Forward;
pub(super) use columns::Columns;
pub(super) use descent::descent;
pub(super) use product::by_matrix;

use super::lower::Builder;
use crate::EngineError;

/// How a node becomes steps.
pub(crate) struct Lowering {
    pub domain: &'static str,
    pub op_type: &'static str,
    /// Adds the steps of work `index`; false if there is no kernel for this form of it.
    pub lower: fn(&mut Builder<'_, '_>, usize) -> Result<bool, EngineError>,
}

/// All of them. An operator that is also known with constant weights gets here in its other forms.
pub(crate) static LOWERINGS: &[Lowering] = &[
    activation::RELU,
    activation_grad::FAST_GELU,
    activation_grad::GELU,
    activation_grad::SIGMOID,
    activation_grad::TANH,
    batch_norm::FORWARD,
    batch_norm::GRADIENT,
    conv::CONV,
    conv_grad::GRADIENT,
    layer_norm::FORWARD,
    layer_norm::GRADIENT,
    pool::MAX,
    pool::MAX_GRADIENT,
    product::GEMM,
    slice::GRADIENT,
    softmax::LOG_SOFTMAX,
    softmax::LOG_SOFTMAX_GRADIENT,
    softmax::SOFTMAX_GRADIENT,
    step_quantize::FORWARD,
    step_quantize::GRADIENT,
];

/// The lowering of a node's operator.
pub(super) fn find(node: &Node) -> Option<&'static Lowering> {
    LOWERINGS.iter().find(|lowering| lowering.domain == node.domain && lowering.op_type == node.op_type)
}

impl std::fmt::Debug for Lowering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.op_type)
    }
}
