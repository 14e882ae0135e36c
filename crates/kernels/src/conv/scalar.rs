//! Depthwise rows for any instruction set.

use super::depthwise::{self, Row};

/// # Safety
/// As `depthwise::row`, on a CPU with any instruction set.
pub(super) unsafe fn depthwise_row(row: &Row<'_>) {
    // SAFETY: the caller's.
    unsafe { depthwise::row::<f32>(row) }
}
