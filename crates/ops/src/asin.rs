//! `Asin`: the inverse sine; NaN outside −1..1.
//!
//! <https://onnx.ai/onnx/operators/onnx__Asin.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, unit_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Asin",
    domain: "",
    since: 7,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Asin))
    },
    samples: unit_samples,
};

/// `Asin`.
#[derive(Debug, Clone, Copy)]
pub struct Asin;

impl Asin {
    fn apply(self, x: f64) -> f64 {
        x.asin()
    }
}

float_unary!(Asin, gradient = |_, dy, x, _| dy / (1.0 - x.squared()).apply("Sqrt"));
