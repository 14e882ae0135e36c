//! `Selu`: γ x, or γ α (eˣ − 1) at or below zero.
//!
//! <https://onnx.ai/onnx/operators/onnx__Selu.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Selu",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Selu {
            alpha: f64::from(node.float_or("alpha", 1.673_263_2)?),
            gamma: f64::from(node.float_or("gamma", 1.050_701)?),
        }))
    },
    samples,
};

/// `Selu`.
#[derive(Debug, Clone, Copy)]
pub struct Selu {
    /// The limit at −∞ is −γ α.
    pub alpha: f64,
    /// Slope above zero.
    pub gamma: f64,
}

impl Selu {
    fn apply(self, x: f64) -> f64 {
        if x > 0.0 { self.gamma * x } else { self.gamma * self.alpha * x.exp_m1() }
    }
}

float_unary!(
    Selu,
    gradient = |op, dy, x, y| (dy.clone() * op.gamma).when(&x.greater(0.0), dy * (y + op.gamma * op.alpha))
);
