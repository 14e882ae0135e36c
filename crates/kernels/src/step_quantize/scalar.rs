//! The loops of this family for any instruction set.

use super::lanes::{self, Backward, Forward};

/// # Safety
/// As `lanes::forward`.
pub(super) unsafe fn forward(at: Forward) {
    // SAFETY: the caller's.
    unsafe { lanes::forward::<f32>(at) }
}

/// # Safety
/// As `lanes::backward`.
pub(super) unsafe fn backward(at: Backward) {
    // SAFETY: the caller's.
    unsafe { lanes::backward::<f32>(at) }
}
