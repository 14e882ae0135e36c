//! The loops of this family for any instruction set.

use super::lanes::{self, AdamwStep, SgdStep};
use super::{Adamw, Sgd};

/// # Safety
/// As `lanes::sgd`, on a CPU with any instruction set.
pub(super) unsafe fn sgd(by: &Sgd, at: SgdStep) {
    // SAFETY: the caller's.
    unsafe { lanes::sgd::<f32>(by, at) }
}

/// # Safety
/// As `lanes::adamw`, on a CPU with any instruction set.
pub(super) unsafe fn adamw(by: &Adamw, at: AdamwStep) {
    // SAFETY: the caller's.
    unsafe { lanes::adamw::<f32>(by, at) }
}
