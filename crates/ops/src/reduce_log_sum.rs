//! `ReduceLogSum`: logarithm of the sum over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceLogSum.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec = OpSpec {
    name: "ReduceLogSum",
    domain: "",
    since: 1,
    read: |node| Reduce::read(node, Reduction::LogSum, 18),
    samples,
};
