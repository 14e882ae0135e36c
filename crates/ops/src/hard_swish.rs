//! `HardSwish`: x · max(0, min(1, x / 6 + 1 / 2)).
//!
//! <https://onnx.ai/onnx/operators/onnx__HardSwish.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "HardSwish",
    domain: "",
    since: 14,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(HardSwish))
    },
    samples,
};

/// `HardSwish`.
#[derive(Debug, Clone, Copy)]
pub struct HardSwish;

impl HardSwish {
    fn apply(self, x: f64) -> f64 {
        x * (x / 6.0 + 0.5).clamp(0.0, 1.0)
    }
}

float_unary!(
    HardSwish,
    gradient = |_, dy, x, _| {
        let slope = (x.clone() / 3.0 + 0.5).when(&x.less(3.0), 1.0).when(&x.greater(-3.0), 0.0);
        dy * slope
    }
);
