//! `Cosh`: the hyperbolic cosine.
//!
//! <https://onnx.ai/onnx/operators/onnx__Cosh.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Cosh",
    domain: "",
    since: 9,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Cosh))
    },
    samples,
};

/// `Cosh`.
#[derive(Debug, Clone, Copy)]
pub struct Cosh;

impl Cosh {
    fn apply(self, x: f64) -> f64 {
        x.cosh()
    }
}

float_unary!(Cosh, gradient = |_, dy, x, _| dy * x.apply("Sinh"));
