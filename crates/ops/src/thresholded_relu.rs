//! `ThresholdedRelu`: x above α, else zero.
//!
//! <https://onnx.ai/onnx/operators/onnx__ThresholdedRelu.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "ThresholdedRelu",
    domain: "",
    since: 10,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(ThresholdedRelu { alpha: f64::from(node.float_or("alpha", 1.0)?) }))
    },
    samples,
};

/// `ThresholdedRelu`.
#[derive(Debug, Clone, Copy)]
pub struct ThresholdedRelu {
    /// The threshold.
    pub alpha: f64,
}

impl ThresholdedRelu {
    fn apply(self, x: f64) -> f64 {
        if x > self.alpha { x } else { 0.0 }
    }
}

float_unary!(ThresholdedRelu, gradient = |op, dy, x, _| dy.when(&x.greater(op.alpha), 0.0));
