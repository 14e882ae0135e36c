//! `ReduceL2`: square root of the sum of squares over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceL2.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec =
    OpSpec { name: "ReduceL2", domain: "", since: 1, read: |node| Reduce::read(node, Reduction::L2, 18), samples };
