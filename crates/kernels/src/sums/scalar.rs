//! The loops of this family for any instruction set.

use super::lanes;
use crate::channels::Block;

/// # Safety
/// As `lanes::columns`, on a CPU with any instruction set.
pub(super) unsafe fn columns(block: &Block, x: *const f32, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { lanes::columns::<f32>(block, x, out) }
}

/// # Safety
/// As `lanes::squares`, on a CPU with any instruction set.
pub(super) unsafe fn squares(x: *const f32, n: usize) -> f64 {
    // SAFETY: the caller's.
    unsafe { lanes::squares::<f32>(x, n) }
}
