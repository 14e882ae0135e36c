//! `BitShift`: a shifted by b bits, with broadcasting. Bits shifted out are lost.
//!
//! <https://onnx.ai/onnx/operators/onnx__BitShift.html>

use std::sync::Arc;

use lissom_graph::{OpError, OpSpec};

use crate::bits::{bitwise_binary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "BitShift",
    domain: "",
    since: 11,
    read: |node| match node.string_or("direction", "")?.as_str() {
        "LEFT" => Ok(Arc::new(BitShift { is_left: true })),
        "RIGHT" => Ok(Arc::new(BitShift { is_left: false })),
        other => Err(OpError::attribute("direction", format!("`{other}` is not LEFT or RIGHT"))),
    },
    samples: || {
        let both = |direction: &'static str| samples().into_iter().map(move |case| case.with("direction", direction));
        both("LEFT").chain(both("RIGHT")).collect()
    },
};

/// `BitShift`.
#[derive(Debug, Clone, Copy)]
pub struct BitShift {
    /// Towards the higher bits.
    pub is_left: bool,
}

bitwise_binary!(BitShift, |self, x, y| {
    let count = u32::try_from(y).unwrap_or(u32::MAX);
    let shifted = if self.is_left { x.checked_shl(count) } else { x.checked_shr(count) };
    shifted.unwrap_or(0)
});
