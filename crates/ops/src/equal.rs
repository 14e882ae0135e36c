//! `Equal`: whether a and b are equal, with broadcasting. NaN equals nothing.
//!
//! <https://onnx.ai/onnx/operators/onnx__Equal.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::binary::{Alignment, comparison, equal_lengths, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Equal",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Equal { alignment: Alignment::read(node)? })),
    samples,
};

/// `Equal`.
#[derive(Debug, Clone, Copy)]
pub struct Equal {
    pub(crate) alignment: Alignment,
}

comparison!(Equal, lengths = equal_lengths, |x, y| x == y);
