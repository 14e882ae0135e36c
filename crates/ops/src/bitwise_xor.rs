//! `BitwiseXor`: the bits of a and b joined by exclusive-or, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__BitwiseXor.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::bits::{bitwise_binary, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "BitwiseXor", domain: "", since: 18, read: |_| Ok(Arc::new(BitwiseXor)), samples };

/// `BitwiseXor`.
#[derive(Debug, Clone, Copy)]
pub struct BitwiseXor;

bitwise_binary!(BitwiseXor, |self, x, y| x ^ y);
