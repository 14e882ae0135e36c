//! `Ceil`: the next integer at or above.
//!
//! <https://onnx.ai/onnx/operators/onnx__Ceil.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Ceil",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Ceil))
    },
    samples,
};

/// `Ceil`.
#[derive(Debug, Clone, Copy)]
pub struct Ceil;

impl Ceil {
    fn apply(self, x: f64) -> f64 {
        x.ceil()
    }
}

float_unary!(Ceil, constant_between_steps);
