//! `ReduceL1`: sum of magnitudes over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceL1.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec =
    OpSpec { name: "ReduceL1", domain: "", since: 1, read: |node| Reduce::read(node, Reduction::L1, 18), samples };
