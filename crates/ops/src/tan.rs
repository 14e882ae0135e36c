//! `Tan`: the tangent.
//!
//! <https://onnx.ai/onnx/operators/onnx__Tan.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Tan",
    domain: "",
    since: 7,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Tan))
    },
    samples,
};

/// `Tan`.
#[derive(Debug, Clone, Copy)]
pub struct Tan;

impl Tan {
    fn apply(self, x: f64) -> f64 {
        x.tan()
    }
}

float_unary!(Tan, gradient = |_, dy, _, y| dy * (1.0 + y.squared()));
