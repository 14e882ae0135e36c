//! `Atanh`: the inverse hyperbolic tangent; NaN outside −1..1.
//!
//! <https://onnx.ai/onnx/operators/onnx__Atanh.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, unit_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Atanh",
    domain: "",
    since: 9,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Atanh))
    },
    samples: unit_samples,
};

/// `Atanh`.
#[derive(Debug, Clone, Copy)]
pub struct Atanh;

impl Atanh {
    fn apply(self, x: f64) -> f64 {
        x.atanh()
    }
}

float_unary!(Atanh, gradient = |_, dy, x, _| dy / (1.0 - x.squared()));
