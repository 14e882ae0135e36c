//! `ScatterElements`: values put at positions of an axis, the other positions being the index's own.
//!
//! <https://onnx.ai/onnx/operators/onnx__ScatterElements.html>

use lissom_graph::OpSpec;

use crate::scatter_targets::{ScatterElements, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "ScatterElements", domain: "", since: 11, read: ScatterElements::read, samples };
