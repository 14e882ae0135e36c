//! `Log`: the natural logarithm.
//!
//! <https://onnx.ai/onnx/operators/onnx__Log.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, positive_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Log",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Log))
    },
    samples: positive_samples,
};

/// `Log`.
#[derive(Debug, Clone, Copy)]
pub struct Log;

impl Log {
    fn apply(self, x: f64) -> f64 {
        x.ln()
    }
}

float_unary!(Log, gradient = |_, dy, x, _| dy / x);
