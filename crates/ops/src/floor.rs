//! `Floor`: the next integer at or below.
//!
//! <https://onnx.ai/onnx/operators/onnx__Floor.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Floor",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Floor))
    },
    samples,
};

/// `Floor`.
#[derive(Debug, Clone, Copy)]
pub struct Floor;

impl Floor {
    fn apply(self, x: f64) -> f64 {
        x.floor()
    }
}

float_unary!(Floor, constant_between_steps);
