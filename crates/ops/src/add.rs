//! `Add`: a + b with broadcasting. Integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Add.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, numeric_binary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Add",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Add { alignment: Alignment::read(node)? })),
    samples,
};

/// `Add`.
#[derive(Debug, Clone, Copy)]
pub struct Add {
    pub(crate) alignment: Alignment,
}

numeric_binary!(Add, lengths | a, b | Some(a.add(b)), float | x, y | x + y, int | x, y | x.wrapping_add(y));
