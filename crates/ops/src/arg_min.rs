//! `ArgMin`: the position of the smallest element of each lane along an axis.
//!
//! <https://onnx.ai/onnx/operators/onnx__ArgMin.html>

use lissom_graph::OpSpec;

use crate::arg_extreme::{ArgExtreme, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "ArgMin", domain: "", since: 1, read: |node| ArgExtreme::read(node, false), samples };
