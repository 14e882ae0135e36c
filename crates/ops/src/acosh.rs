//! `Acosh`: the inverse hyperbolic cosine; NaN below 1.
//!
//! <https://onnx.ai/onnx/operators/onnx__Acosh.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, positive_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Acosh",
    domain: "",
    since: 9,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Acosh))
    },
    samples: positive_samples,
};

/// `Acosh`.
#[derive(Debug, Clone, Copy)]
pub struct Acosh;

impl Acosh {
    fn apply(self, x: f64) -> f64 {
        x.acosh()
    }
}

float_unary!(Acosh, gradient = |_, dy, x, _| dy / (x.squared() - 1.0).apply("Sqrt"));
