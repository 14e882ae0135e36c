//! The loops of this family for any instruction set.

use super::lanes::{self, Backward, Forward};

/// # Safety
/// As `lanes::normalize`, on a CPU with any instruction set.
pub(super) unsafe fn normalize(of: &Forward) {
    // SAFETY: the caller's.
    unsafe { lanes::normalize::<f32>(of) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with any instruction set.
pub(super) unsafe fn gradient(of: &Backward) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<f32>(of) }
}
