//! `Atan`: the inverse tangent.
//!
//! <https://onnx.ai/onnx/operators/onnx__Atan.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Atan",
    domain: "",
    since: 7,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Atan))
    },
    samples,
};

/// `Atan`.
#[derive(Debug, Clone, Copy)]
pub struct Atan;

impl Atan {
    fn apply(self, x: f64) -> f64 {
        x.atan()
    }
}

float_unary!(Atan, gradient = |_, dy, x, _| dy / (1.0 + x.squared()));
