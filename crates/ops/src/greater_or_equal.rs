//! `GreaterOrEqual`: whether a ≥ b, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__GreaterOrEqual.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, comparison, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "GreaterOrEqual",
    domain: "",
    since: 12,
    read: |node| Ok(Arc::new(GreaterOrEqual { alignment: Alignment::read(node)? })),
    samples,
};

/// `GreaterOrEqual`.
#[derive(Debug, Clone, Copy)]
pub struct GreaterOrEqual {
    pub(crate) alignment: Alignment,
}

comparison!(GreaterOrEqual, |x, y| x >= y);
