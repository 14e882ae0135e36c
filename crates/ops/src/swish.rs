//! `Swish`: x / (1 + e^(−α x)).
//!
//! <https://onnx.ai/onnx/operators/onnx__Swish.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Swish",
    domain: "",
    since: 24,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Swish { alpha: f64::from(node.float_or("alpha", 1.0)?) }))
    },
    samples,
};

/// `Swish`.
#[derive(Debug, Clone, Copy)]
pub struct Swish {
    /// Steepness of the sigmoid.
    pub alpha: f64,
}

impl Swish {
    fn apply(self, x: f64) -> f64 {
        x / (1.0 + (-self.alpha * x).exp())
    }
}

float_unary!(
    Swish,
    gradient = |op, dy, x, y| {
        let gate = (op.alpha * x).apply("Sigmoid");
        dy * (gate.clone() + op.alpha * y * (1.0 - gate))
    }
);
