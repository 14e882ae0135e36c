//! `BitwiseAnd`: the bits of a and b joined by and, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__BitwiseAnd.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::bits::{bitwise_binary, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "BitwiseAnd", domain: "", since: 18, read: |_| Ok(Arc::new(BitwiseAnd)), samples };

/// `BitwiseAnd`.
#[derive(Debug, Clone, Copy)]
pub struct BitwiseAnd;

bitwise_binary!(BitwiseAnd, |self, x, y| x & y);
