//! `Sigmoid`: 1 / (1 + e⁻ˣ).
//!
//! <https://onnx.ai/onnx/operators/onnx__Sigmoid.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::expression::Expr;
use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Sigmoid",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Sigmoid))
    },
    samples,
};

/// `Sigmoid`.
#[derive(Debug, Clone, Copy)]
pub struct Sigmoid;

impl Sigmoid {
    fn apply(self, x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }
}

float_unary!(Sigmoid, gradient = |_, dy, _, y| Expr::microsoft("SigmoidGrad", [dy, y]));
