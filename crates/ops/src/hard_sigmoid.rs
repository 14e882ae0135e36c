//! `HardSigmoid`: max(0, min(1, α x + β)).
//!
//! <https://onnx.ai/onnx/operators/onnx__HardSigmoid.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "HardSigmoid",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(HardSigmoid {
            alpha: f64::from(node.float_or("alpha", 0.2)?),
            beta: f64::from(node.float_or("beta", 0.5)?),
        }))
    },
    samples,
};

/// `HardSigmoid`.
#[derive(Debug, Clone, Copy)]
pub struct HardSigmoid {
    /// Slope of the middle part.
    pub alpha: f64,
    /// Value at zero.
    pub beta: f64,
}

impl HardSigmoid {
    fn apply(self, x: f64) -> f64 {
        (self.alpha * x + self.beta).clamp(0.0, 1.0)
    }
}

float_unary!(
    HardSigmoid,
    gradient = |op, dy, x, _| {
        let inner = op.alpha * x + op.beta;
        (dy * op.alpha).when(&inner.greater(0.0), 0.0).when(&inner.less(1.0), 0.0)
    }
);
