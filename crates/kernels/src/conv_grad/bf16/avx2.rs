//! 4 channels by 2 vectors of 8 outputs: each pair is taken apart on the way.

use super::tile::{self, PairLine, PairTile, tile};
use crate::simd::F32x8;

/// # Safety
/// `1 <= rows <= 4`, one or two vectors; the pointers are as `PairTile` says; this CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(rows: usize, vectors: usize, args: &PairTile<'_>) {
    macro_rules! by_rows {
        ($($n:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, vectors) {
                    $(($n, 1) => tile::<F32x8, $n, 1>(args), ($n, 2) => tile::<F32x8, $n, 2>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4)
}

/// # Safety
/// As `tile::pack`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn pack(line: &PairLine) {
    // SAFETY: the caller's.
    unsafe { tile::pack::<F32x8>(line) }
}
