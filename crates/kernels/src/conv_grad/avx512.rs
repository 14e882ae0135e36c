//! 13 channels by 2 vectors of 16 outputs, or 16 by 1: the sums, the outputs and a broadcast fit in the 32 registers.

use super::depthwise::{self, Row};
use super::tile::{self, Tile, tile};
use crate::simd::F32x16;

/// # Safety
/// `1 <= rows <= 13` for two vectors, 16 for one, 8 for three; the pointers are as `Tile` says; this CPU has AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn run(rows: usize, vectors: usize, args: &Tile<'_>) {
    macro_rules! by_rows {
        ($($n:literal)*; $($narrow:literal)*; $($taps:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, vectors) {
                    $(($n, 1) => tile::<F32x16, $n, 1>(args), ($n, 2) => tile::<F32x16, $n, 2>(args),)*
                    $(($narrow, 1) => tile::<F32x16, $narrow, 1>(args),)*
                    $(($taps, 3) => tile::<F32x16, $taps, 3>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13; 14 15 16; 1 2 3 4 5 6 7 8)
}

/// # Safety
/// As `tile::depthwise`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn depthwise(args: &Tile<'_>) {
    // SAFETY: the caller's.
    unsafe { tile::depthwise::<F32x16>(args) }
}

/// # Safety
/// As `tile::add_rows`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn add_rows(from: *const f32, stride: usize, n_rows: usize, is_kept: bool, to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::add_rows::<F32x16>(from, stride, n_rows, is_kept, to) }
}

/// # Safety
/// As `depthwise::row`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn depthwise_input(args: &Row<'_>, to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { depthwise::row::<F32x16>(args, to) }
}
