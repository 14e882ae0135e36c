//! `ReduceMean`: mean over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceMean.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec =
    OpSpec { name: "ReduceMean", domain: "", since: 1, read: |node| Reduce::read(node, Reduction::Mean, 18), samples };
