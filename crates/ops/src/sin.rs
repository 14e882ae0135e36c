//! `Sin`: the sine.
//!
//! <https://onnx.ai/onnx/operators/onnx__Sin.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Sin",
    domain: "",
    since: 7,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Sin))
    },
    samples,
};

/// `Sin`.
#[derive(Debug, Clone, Copy)]
pub struct Sin;

impl Sin {
    fn apply(self, x: f64) -> f64 {
        x.sin()
    }
}

float_unary!(Sin, gradient = |_, dy, x, _| dy * x.apply("Cos"));
