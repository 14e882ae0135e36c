//! 13 rows by 2 vectors of 16: 26 sums, two vectors of B and a broadcast in the 32 registers (14 rows spill).

use super::RunStrip;
use super::driver::Tiles;
use super::tile::{One, Run, Tile, tile};
use crate::conv::direct::{self, Strip};
use crate::conv::windows::Windows;
use crate::simd::F32x16;
use std::ops::Range;

/// # Safety
/// `1 <= rows <= 13`, the panel is 16 or 32 wide, the pointers are as `Tile` says, and this CPU has AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(crate) unsafe fn run(rows: usize, panel: usize, args: &Tile) {
    macro_rules! by_rows {
        ($($n:literal)*; $($narrow:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, panel) {
                    $(($n, 16) => tile::<F32x16, One, $n, 1>(args), ($n, _) => tile::<F32x16, One, $n, 2>(args),)*
                    $(($narrow, 16) => tile::<F32x16, One, $narrow, 1>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13; 14 15 16 17 18 19 20 21 22 23 24 25 26)
}

/// # Safety
/// This CPU has AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(crate) unsafe fn locate(windows: &Windows<'_>, tiles: &Tiles, ks: Range<usize>, to: &mut [Run]) {
    windows.locate(tiles, ks, to);
}

/// # Safety
/// As `transpose::transpose`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(crate) unsafe fn transpose(
    from: *const f32,
    from_stride: usize,
    sizes: [usize; 2],
    to: *mut f32,
    to_stride: usize,
) {
    // SAFETY: the caller's.
    unsafe { super::transpose::transpose::<F32x16>(from, from_stride, sizes, to, to_stride) }
}

/// Strips of outputs side by side.
pub(crate) static DIRECT: &[(usize, RunStrip)] =
    &[(16, strip::<16>), (8, strip::<8>), (4, strip::<4>), (2, strip::<2>), (1, strip::<1>)];

/// # Safety
/// As `direct::strip`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
unsafe fn strip<const R: usize>(args: &Strip<'_>) {
    // SAFETY: the caller's.
    unsafe { direct::strip::<F32x16, One, R>(args) }
}
