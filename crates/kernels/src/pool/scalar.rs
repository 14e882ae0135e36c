//! The loops of this family for any instruction set.

use super::lanes::{self, Gradient, Row};

/// # Safety
/// As `lanes::row`, on a CPU with any instruction set.
pub(super) unsafe fn row(row: &Row<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::row::<f32>(row) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with any instruction set.
pub(super) unsafe fn gradient(of: &Gradient) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<f32>(of) }
}
