//! `ReluGrad`: the gradient of `Relu` from its input, or from its output, which is positive where the input is.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::sync::Arc;

use lissom_graph::OpSpec;

use super::activation_grad::{ActivationGrad, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "ReluGrad",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(ActivationGrad::Relu)),
    samples,
};
