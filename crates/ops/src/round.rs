//! `Round`: the nearest integer, ties to the even one.
//!
//! <https://onnx.ai/onnx/operators/onnx__Round.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Round",
    domain: "",
    since: 11,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Round))
    },
    samples,
};

/// `Round`.
#[derive(Debug, Clone, Copy)]
pub struct Round;

impl Round {
    fn apply(self, x: f64) -> f64 {
        x.round_ties_even()
    }
}

float_unary!(Round, constant_between_steps);
