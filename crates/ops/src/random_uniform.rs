//! `RandomUniform`: random numbers of the uniform distribution, of a given shape.
//!
//! <https://onnx.ai/onnx/operators/onnx__RandomUniform.html>

use lissom_graph::OpSpec;

use crate::random_tensor::{RandomTensor, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "RandomUniform",
    domain: "",
    since: 1,
    read: |node| RandomTensor::read(node, false, false),
    samples,
};
