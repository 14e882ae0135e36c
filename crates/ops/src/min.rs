//! `Min`: the smallest of any number of tensors, with broadcasting; NaN wins.
//!
//! <https://onnx.ai/onnx/operators/onnx__Min.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::lengths::extreme;
use crate::variadic::{numeric_variadic, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Min",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Min))
    },
    samples,
};

/// `Min`.
#[derive(Debug, Clone, Copy)]
pub struct Min;

numeric_variadic!(
    Min,
    lengths = |a, b| extreme(a, b, i64::min),
    float = |x, y| if x.is_nan() || x <= y { x } else { y },
    int = |x, y| x.min(y),
    gradients = crate::variadic::chosen
);
