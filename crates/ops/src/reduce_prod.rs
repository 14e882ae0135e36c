//! `ReduceProd`: product over axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReduceProd.html>

use lissom_graph::OpSpec;

use crate::reduce::{Reduce, Reduction, samples};

/// Axes are an input from opset 18 on.
pub(crate) const OP: OpSpec =
    OpSpec { name: "ReduceProd", domain: "", since: 1, read: |node| Reduce::read(node, Reduction::Prod, 18), samples };
