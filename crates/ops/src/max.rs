//! `Max`: the largest of any number of tensors, with broadcasting; NaN wins.
//!
//! <https://onnx.ai/onnx/operators/onnx__Max.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::lengths::extreme;
use crate::variadic::{numeric_variadic, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Max",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Max))
    },
    samples,
};

/// `Max`.
#[derive(Debug, Clone, Copy)]
pub struct Max;

numeric_variadic!(
    Max,
    lengths = |a, b| extreme(a, b, i64::max),
    float = |x, y| if x.is_nan() || x >= y { x } else { y },
    int = |x, y| x.max(y),
    gradients = crate::variadic::chosen
);
