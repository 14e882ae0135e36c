//! `Mul`: a · b with broadcasting. Integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Mul.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, numeric_binary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Mul",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Mul { alignment: Alignment::read(node)? })),
    samples,
};

/// `Mul`.
#[derive(Debug, Clone, Copy)]
pub struct Mul {
    pub(crate) alignment: Alignment,
}

numeric_binary!(
    Mul,
    lengths = |a, b| Some(a.mul(b)),
    float = |x, y| x * y,
    int = |x, y| x.wrapping_mul(y),
    gradients = |dy, a, b| [dy.clone() * b, dy * a]
);
