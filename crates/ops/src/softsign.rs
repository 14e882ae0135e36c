//! `Softsign`: x / (1 + |x|).
//!
//! <https://onnx.ai/onnx/operators/onnx__Softsign.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Softsign",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Softsign))
    },
    samples,
};

/// `Softsign`.
#[derive(Debug, Clone, Copy)]
pub struct Softsign;

impl Softsign {
    fn apply(self, x: f64) -> f64 {
        x / (1.0 + x.abs())
    }
}

float_unary!(Softsign, gradient = |_, dy, x, _| dy / (1.0 + x.apply("Abs")).squared());
