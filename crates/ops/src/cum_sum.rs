//! `CumSum`: the running sum along an axis.
//!
//! <https://onnx.ai/onnx/operators/onnx__CumSum.html>

use lissom_graph::OpSpec;

use crate::cumulative::{Cumulative, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "CumSum", domain: "", since: 11, read: |node| Cumulative::read(node, false), samples };
