//! `ReduceMin`: smallest value over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceMin.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec =
    OpSpec { name: "ReduceMin", domain: "", since: 1, read: |node| Reduce::read(node, Reduction::Min, 18), samples };
