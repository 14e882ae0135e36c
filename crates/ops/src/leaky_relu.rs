//! `LeakyRelu`: x, or α x below zero.
//!
//! <https://onnx.ai/onnx/operators/onnx__LeakyRelu.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "LeakyRelu",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(LeakyRelu { alpha: f64::from(node.float_or("alpha", 0.01)?) }))
    },
    samples,
};

/// `LeakyRelu`.
#[derive(Debug, Clone, Copy)]
pub struct LeakyRelu {
    /// Slope below zero.
    pub alpha: f64,
}

impl LeakyRelu {
    fn apply(self, x: f64) -> f64 {
        if x < 0.0 { self.alpha * x } else { x }
    }
}

float_unary!(LeakyRelu, gradient = |op, dy, x, _| dy.clone().when(&x.greater(0.0), dy * op.alpha));
