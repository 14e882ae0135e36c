//! 6 channels by 2 vectors of 8 outputs, or 12 by 1, in the 16 registers.

use super::depthwise::{self, Row};
use super::tile::{self, Tile, tile};
use crate::simd::F32x8;

/// # Safety
/// `1 <= rows <= 6` for two vectors, 12 for one, 4 for three; the pointers are as `Tile` says; this CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(rows: usize, vectors: usize, args: &Tile<'_>) {
    macro_rules! by_rows {
        ($($n:literal)*; $($narrow:literal)*; $($taps:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, vectors) {
                    $(($n, 1) => tile::<F32x8, $n, 1>(args), ($n, 2) => tile::<F32x8, $n, 2>(args),)*
                    $(($narrow, 1) => tile::<F32x8, $narrow, 1>(args),)*
                    $(($taps, 3) => tile::<F32x8, $taps, 3>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4 5 6; 7 8 9 10 11 12; 1 2 3 4)
}

/// # Safety
/// As `tile::depthwise`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn depthwise(args: &Tile<'_>) {
    // SAFETY: the caller's.
    unsafe { tile::depthwise::<F32x8>(args) }
}

/// # Safety
/// As `tile::add_rows`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn add_rows(from: *const f32, stride: usize, n_rows: usize, is_kept: bool, to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::add_rows::<F32x8>(from, stride, n_rows, is_kept, to) }
}

/// # Safety
/// As `depthwise::row`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn depthwise_input(args: &Row<'_>, to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { depthwise::row::<F32x8>(args, to) }
}
