//! `Sum`: the sum of any number of tensors, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__Sum.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::variadic::{numeric_variadic, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Sum",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Sum))
    },
    samples,
};

/// `Sum`.
#[derive(Debug, Clone, Copy)]
pub struct Sum;

numeric_variadic!(
    Sum,
    lengths = |a, b| Some(a.add(b)),
    float = |x, y| x + y,
    int = |x, y| x.wrapping_add(y),
    gradients = |dy, inputs, _| vec![dy; inputs.len()]
);
