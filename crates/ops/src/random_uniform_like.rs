//! `RandomUniformLike`: random numbers of the uniform distribution, of a given shape.
//!
//! <https://onnx.ai/onnx/operators/onnx__RandomUniformLike.html>

use lissom_graph::OpSpec;

use crate::random_tensor::{RandomTensor, like_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "RandomUniformLike",
    domain: "",
    since: 1,
    read: |node| RandomTensor::read(node, false, true),
    samples: like_samples,
};
