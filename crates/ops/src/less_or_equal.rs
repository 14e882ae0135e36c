//! `LessOrEqual`: whether a ≤ b, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__LessOrEqual.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, comparison, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "LessOrEqual",
    domain: "",
    since: 12,
    read: |node| Ok(Arc::new(LessOrEqual { alignment: Alignment::read(node)? })),
    samples,
};

/// `LessOrEqual`.
#[derive(Debug, Clone, Copy)]
pub struct LessOrEqual {
    pub(crate) alignment: Alignment,
}

comparison!(LessOrEqual, |x, y| x <= y);
