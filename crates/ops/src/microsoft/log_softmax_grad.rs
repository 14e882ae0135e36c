//! `LogSoftmaxGrad`: the gradient of `LogSoftmax` from its output, all axes from one on taken together (until opset 12).
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use lissom_graph::OpSpec;

use super::softmax_grad::{SoftmaxGrad, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "LogSoftmaxGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| SoftmaxGrad::read(node, true, true),
    samples,
};
