//! `RandomNormalLike`: random numbers of the normal distribution, of a given shape.
//!
//! <https://onnx.ai/onnx/operators/onnx__RandomNormalLike.html>

use lissom_graph::OpSpec;

use crate::random_tensor::{RandomTensor, like_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "RandomNormalLike",
    domain: "",
    since: 1,
    read: |node| RandomTensor::read(node, true, true),
    samples: like_samples,
};
