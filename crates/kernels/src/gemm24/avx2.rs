//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, Tile};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::tile` for `rows` rows, at most 4, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tile(rows: usize, tile: &Tile) {
    // SAFETY: the caller's.
    unsafe {
        match rows {
            1 => lanes::tile::<F32x8, 1>(tile),
            2 => lanes::tile::<F32x8, 2>(tile),
            3 => lanes::tile::<F32x8, 3>(tile),
            _ => lanes::tile::<F32x8, 4>(tile),
        }
    }
}
