//! `Mish`: x · tanh(ln(1 + eˣ)).
//!
//! <https://onnx.ai/onnx/operators/onnx__Mish.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Mish",
    domain: "",
    since: 18,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Mish))
    },
    samples,
};

/// `Mish`.
#[derive(Debug, Clone, Copy)]
pub struct Mish;

impl Mish {
    fn apply(self, x: f64) -> f64 {
        x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh()
    }
}

float_unary!(
    Mish,
    gradient = |_, dy, x, _| {
        let inner = x.clone().apply("Softplus").apply("Tanh");
        dy * (inner.clone() + x.clone() * x.apply("Sigmoid") * (1.0 - inner.squared()))
    }
);
