//! The loops of this family for any instruction set.

use super::lanes::{self, Row};

/// # Safety
/// As `lanes::row`, on a CPU with any instruction set.
pub(super) unsafe fn row(row: &Row<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::row::<f32>(row) }
}
