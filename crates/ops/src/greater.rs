//! `Greater`: whether a > b, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__Greater.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, comparison, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Greater",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Greater { alignment: Alignment::read(node)? })),
    samples,
};

/// `Greater`.
#[derive(Debug, Clone, Copy)]
pub struct Greater {
    pub(crate) alignment: Alignment,
}

comparison!(Greater, |x, y| x > y);
