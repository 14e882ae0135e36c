//! `Sinh`: the hyperbolic sine.
//!
//! <https://onnx.ai/onnx/operators/onnx__Sinh.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Sinh",
    domain: "",
    since: 9,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Sinh))
    },
    samples,
};

/// `Sinh`.
#[derive(Debug, Clone, Copy)]
pub struct Sinh;

impl Sinh {
    fn apply(self, x: f64) -> f64 {
        x.sinh()
    }
}

float_unary!(Sinh, gradient = |_, dy, x, _| dy * x.apply("Cosh"));
