//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, Tile};
use crate::simd::F32x16;

/// # Safety
/// As `lanes::tile` for `rows` rows, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn tile(rows: usize, tile: &Tile) {
    // SAFETY: the caller's.
    unsafe {
        match rows {
            1 => lanes::tile::<F32x16, 1>(tile),
            2 => lanes::tile::<F32x16, 2>(tile),
            3 => lanes::tile::<F32x16, 3>(tile),
            4 => lanes::tile::<F32x16, 4>(tile),
            5 => lanes::tile::<F32x16, 5>(tile),
            6 => lanes::tile::<F32x16, 6>(tile),
            7 => lanes::tile::<F32x16, 7>(tile),
            _ => lanes::tile::<F32x16, 8>(tile),
        }
    }
}
