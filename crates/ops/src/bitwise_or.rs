//! `BitwiseOr`: the bits of a and b joined by or, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__BitwiseOr.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::bits::{bitwise_binary, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "BitwiseOr", domain: "", since: 18, read: |_| Ok(Arc::new(BitwiseOr)), samples };

/// `BitwiseOr`.
#[derive(Debug, Clone, Copy)]
pub struct BitwiseOr;

bitwise_binary!(BitwiseOr, |self, x, y| x | y);
