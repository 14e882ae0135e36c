//! `ReduceLogSumExp`: logarithm of the sum of exponentials over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceLogSumExp.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec = OpSpec {
    name: "ReduceLogSumExp",
    domain: "",
    since: 1,
    read: |node| Reduce::read(node, Reduction::LogSumExp, 18),
    samples,
};
