//! `Asinh`: the inverse hyperbolic sine.
//!
//! <https://onnx.ai/onnx/operators/onnx__Asinh.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Asinh",
    domain: "",
    since: 9,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Asinh))
    },
    samples,
};

/// `Asinh`.
#[derive(Debug, Clone, Copy)]
pub struct Asinh;

impl Asinh {
    fn apply(self, x: f64) -> f64 {
        x.asinh()
    }
}

float_unary!(Asinh, gradient = |_, dy, x, _| dy / (1.0 + x.squared()).apply("Sqrt"));
