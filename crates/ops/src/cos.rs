//! `Cos`: the cosine.
//!
//! <https://onnx.ai/onnx/operators/onnx__Cos.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Cos",
    domain: "",
    since: 7,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Cos))
    },
    samples,
};

/// `Cos`.
#[derive(Debug, Clone, Copy)]
pub struct Cos;

impl Cos {
    fn apply(self, x: f64) -> f64 {
        x.cos()
    }
}

float_unary!(Cos, gradient = |_, dy, x, _| -(dy * x.apply("Sin")));
