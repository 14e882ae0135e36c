//! `Softplus`: ln(1 + eˣ), without overflow.
//!
//! <https://onnx.ai/onnx/operators/onnx__Softplus.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Softplus",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Softplus))
    },
    samples,
};

/// `Softplus`.
#[derive(Debug, Clone, Copy)]
pub struct Softplus;

impl Softplus {
    fn apply(self, x: f64) -> f64 {
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    }
}

float_unary!(Softplus, gradient = |_, dy, x, _| dy * x.apply("Sigmoid"));
