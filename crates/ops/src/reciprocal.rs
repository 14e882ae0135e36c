//! `Reciprocal`: 1 / x.
//!
//! <https://onnx.ai/onnx/operators/onnx__Reciprocal.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, positive_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Reciprocal",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Reciprocal))
    },
    samples: positive_samples,
};

/// `Reciprocal`.
#[derive(Debug, Clone, Copy)]
pub struct Reciprocal;

impl Reciprocal {
    fn apply(self, x: f64) -> f64 {
        1.0 / x
    }
}

float_unary!(Reciprocal, gradient = |_, dy, _, y| -(dy * y.squared()));
