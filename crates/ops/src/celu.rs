//! `Celu`: x, or α (e^(x / α) − 1) below zero.
//!
//! <https://onnx.ai/onnx/operators/onnx__Celu.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Celu",
    domain: "",
    since: 12,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Celu { alpha: f64::from(node.float_or("alpha", 1.0)?) }))
    },
    samples,
};

/// `Celu`.
#[derive(Debug, Clone, Copy)]
pub struct Celu {
    /// The limit at −∞ is −α.
    pub alpha: f64,
}

impl Celu {
    fn apply(self, x: f64) -> f64 {
        if x < 0.0 { self.alpha * (x / self.alpha).exp_m1() } else { x }
    }
}

float_unary!(Celu, gradient = |op, dy, x, y| dy.clone().when(&x.greater(0.0), dy * (y / op.alpha + 1.0)));
