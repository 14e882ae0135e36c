//! `Acos`: the inverse cosine; NaN outside −1..1.
//!
//! <https://onnx.ai/onnx/operators/onnx__Acos.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, unit_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Acos",
    domain: "",
    since: 7,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Acos))
    },
    samples: unit_samples,
};

/// `Acos`.
#[derive(Debug, Clone, Copy)]
pub struct Acos;

impl Acos {
    fn apply(self, x: f64) -> f64 {
        x.acos()
    }
}

float_unary!(Acos, gradient = |_, dy, x, _| -(dy / (1.0 - x.squared()).apply("Sqrt")));
