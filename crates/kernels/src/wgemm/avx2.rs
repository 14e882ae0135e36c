//! The loop of this family for AVX2 and FMA.

use super::lanes::{self, Panel};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::panel`, on a CPU with AVX2 and FMA; at most 2 rows.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn panel(panel: &Panel) {
    // SAFETY: the caller's.
    unsafe {
        match panel.rows {
            1 => lanes::panel::<F32x8, 1>(panel),
            2 => lanes::panel::<F32x8, 2>(panel),
            _ => unreachable!("a tile of {} rows", panel.rows),
        }
    }
}
