//! `RandomNormal`: random numbers of the normal distribution, of a given shape.
//!
//! <https://onnx.ai/onnx/operators/onnx__RandomNormal.html>

use lissom_graph::OpSpec;

use crate::random_tensor::{RandomTensor, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "RandomNormal", domain: "", since: 1, read: |node| RandomTensor::read(node, true, false), samples };
