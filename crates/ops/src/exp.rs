//! `Exp`: eˣ.
//!
//! <https://onnx.ai/onnx/operators/onnx__Exp.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Exp",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Exp))
    },
    samples,
};

/// `Exp`.
#[derive(Debug, Clone, Copy)]
pub struct Exp;

impl Exp {
    fn apply(self, x: f64) -> f64 {
        x.exp()
    }
}

float_unary!(Exp, gradient = |_, dy, _, y| dy * y);
