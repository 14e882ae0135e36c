//! `ReduceMax`: largest value over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceMax.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec =
    OpSpec { name: "ReduceMax", domain: "", since: 1, read: |node| Reduce::read(node, Reduction::Max, 18), samples };
