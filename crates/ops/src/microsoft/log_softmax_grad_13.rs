//! `LogSoftmaxGrad_13`: the gradient of `LogSoftmax` from its output.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use lissom_graph::OpSpec;

use super::softmax_grad::{SoftmaxGrad, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "LogSoftmaxGrad_13",
    domain: "com.microsoft",
    since: 1,
    read: |node| SoftmaxGrad::read(node, false, true),
    samples,
};
