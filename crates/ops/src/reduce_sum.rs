//! `ReduceSum`: sum over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceSum.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 13 on.
pub(crate) const OP: OpSpec =
    OpSpec { name: "ReduceSum", domain: "", since: 1, read: |node| Reduce::read(node, Reduction::Sum, 13), samples };
