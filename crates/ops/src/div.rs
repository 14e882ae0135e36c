//! `Div`: a / b with broadcasting. Integers are cut towards zero; by zero they give zero.
//!
//! <https://onnx.ai/onnx/operators/onnx__Div.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, numeric_binary, samples};
use crate::lengths::quotient;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Div",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Div { alignment: Alignment::read(node)? })),
    samples,
};

/// `Div`.
#[derive(Debug, Clone, Copy)]
pub struct Div {
    pub(crate) alignment: Alignment,
}

numeric_binary!(
    Div,
    lengths = |a, b| quotient(std::slice::from_ref(a), std::slice::from_ref(b)),
    float = |x, y| x / y,
    int = |x, y| if y == 0 { 0 } else { x.wrapping_div(y) },
    gradients = |dy, a, b| {
        let to_a = dy / b.clone();
        [to_a.clone(), -(to_a * a / b)]
    }
);
