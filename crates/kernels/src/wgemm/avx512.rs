//! The loop of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, Panel};
use crate::simd::F32x16;

/// # Safety
/// As `lanes::panel`, on a CPU with AVX-512 F, BW, DQ, VL; at most 4 rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn panel(panel: &Panel) {
    // SAFETY: the caller's.
    unsafe {
        match panel.rows {
            1 => lanes::panel::<F32x16, 1>(panel),
            2 => lanes::panel::<F32x16, 2>(panel),
            3 => lanes::panel::<F32x16, 3>(panel),
            4 => lanes::panel::<F32x16, 4>(panel),
            _ => unreachable!("a tile of {} rows", panel.rows),
        }
    }
}
