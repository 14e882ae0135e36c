//! The loop of this family for any instruction set.

use super::lanes::{self, Panel};

/// # Safety
/// As `lanes::panel`, on a CPU with any instruction set; at most 2 rows.
pub(super) unsafe fn panel(panel: &Panel) {
    // SAFETY: the caller's.
    unsafe {
        match panel.rows {
            1 => lanes::panel::<f32, 1>(panel),
            2 => lanes::panel::<f32, 2>(panel),
            _ => unreachable!("a tile of {} rows", panel.rows),
        }
    }
}
