//! `Sqrt`: the square root; NaN below zero.
//!
//! <https://onnx.ai/onnx/operators/onnx__Sqrt.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, positive_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Sqrt",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Sqrt))
    },
    samples: positive_samples,
};

/// `Sqrt`.
#[derive(Debug, Clone, Copy)]
pub struct Sqrt;

impl Sqrt {
    fn apply(self, x: f64) -> f64 {
        x.sqrt()
    }
}

float_unary!(Sqrt, gradient = |_, dy, _, y| dy * 0.5 / y);
