//! `SoftmaxGrad_13`: the gradient of `Softmax` from its output.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use lissom_graph::OpSpec;

use super::softmax_grad::{SoftmaxGrad, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SoftmaxGrad_13",
    domain: "com.microsoft",
    since: 1,
    read: |node| SoftmaxGrad::read(node, false, false),
    samples,
};
