//! `Tanh`: the hyperbolic tangent.
//!
//! <https://onnx.ai/onnx/operators/onnx__Tanh.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::expression::Expr;
use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Tanh",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Tanh))
    },
    samples,
};

/// `Tanh`.
#[derive(Debug, Clone, Copy)]
pub struct Tanh;

impl Tanh {
    fn apply(self, x: f64) -> f64 {
        x.tanh()
    }
}

float_unary!(Tanh, gradient = |_, dy, _, y| Expr::microsoft("TanhGrad", [dy, y]));
