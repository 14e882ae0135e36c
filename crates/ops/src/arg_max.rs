//! `ArgMax`: the position of the largest element of each lane along an axis.
//!
//! <https://onnx.ai/onnx/operators/onnx__ArgMax.html>

use lissom_graph::OpSpec;

use crate::arg_extreme::{ArgExtreme, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "ArgMax", domain: "", since: 1, read: |node| ArgExtreme::read(node, true), samples };
