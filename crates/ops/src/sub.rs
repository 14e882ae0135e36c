//! `Sub`: a − b with broadcasting. Integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Sub.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, numeric_binary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Sub",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Sub { alignment: Alignment::read(node)? })),
    samples,
};

/// `Sub`.
#[derive(Debug, Clone, Copy)]
pub struct Sub {
    pub(crate) alignment: Alignment,
}

numeric_binary!(
    Sub,
    lengths = |a, b| Some(a.sub(b)),
    float = |x, y| x - y,
    int = |x, y| x.wrapping_sub(y),
    gradients = |dy, _, _| [dy.clone(), -dy]
);
