//! `Less`: whether a < b, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__Less.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, comparison, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Less",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Less { alignment: Alignment::read(node)? })),
    samples,
};

/// `Less`.
#[derive(Debug, Clone, Copy)]
pub struct Less {
    pub(crate) alignment: Alignment,
}

comparison!(Less, |x, y| x < y);
