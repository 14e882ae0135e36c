//! `ReduceSumSquare`: sum of squares over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceSumSquare.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec = OpSpec {
    name: "ReduceSumSquare",
    domain: "",
    since: 1,
    read: |node| Reduce::read(node, Reduction::SumSquare, 18),
    samples,
};
