//! `Elu`: x, or α (eˣ − 1) below zero.
//!
//! <https://onnx.ai/onnx/operators/onnx__Elu.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Elu",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Elu { alpha: f64::from(node.float_or("alpha", 1.0)?) }))
    },
    samples,
};

/// `Elu`.
#[derive(Debug, Clone, Copy)]
pub struct Elu {
    /// The limit at −∞ is −α.
    pub alpha: f64,
}

impl Elu {
    fn apply(self, x: f64) -> f64 {
        if x < 0.0 { self.alpha * x.exp_m1() } else { x }
    }
}

float_unary!(Elu, gradient = |op, dy, x, y| dy.clone().when(&x.greater(0.0), dy * (y + op.alpha)));
