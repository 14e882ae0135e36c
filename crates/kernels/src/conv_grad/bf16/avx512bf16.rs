//! 13 channels by 2 vectors of 16 outputs, or 16 by 1.

use super::tile::{self, PairLine, PairTile, tile};
use crate::simd::F32x16;

/// # Safety
/// `1 <= rows <= 13` for two vectors, 16 for one; the pointers are as `PairTile` says; this CPU has AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn run(rows: usize, vectors: usize, args: &PairTile<'_>) {
    macro_rules! by_rows {
        ($($n:literal)*; $($narrow:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, vectors) {
                    $(($n, 1) => tile::<F32x16, $n, 1>(args), ($n, 2) => tile::<F32x16, $n, 2>(args),)*
                    $(($narrow, 1) => tile::<F32x16, $narrow, 1>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13; 14 15 16)
}

/// # Safety
/// As `tile::pack`, on a CPU with AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn pack(line: &PairLine) {
    // SAFETY: the caller's.
    unsafe { tile::pack::<F32x16>(line) }
}
