//! The tiles of `gemm::avx512`, with pairs of bf16 for elements.

use super::tile::{self, Pair};
use crate::conv::direct::{self, Strip};
use crate::conv::windows::Windows;
use crate::gemm::RunStrip;
use crate::gemm::driver::Tiles;
use crate::gemm::tile::{Run, Tile, tile};
use crate::simd::F32x16;
use std::ops::Range;

/// # Safety
/// As `gemm::avx512::run`, on a CPU that also has AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn run(rows: usize, panel: usize, args: &Tile) {
    macro_rules! by_rows {
        ($($n:literal)*; $($narrow:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, panel) {
                    $(($n, 16) => tile::<F32x16, Pair, $n, 1>(args), ($n, _) => tile::<F32x16, Pair, $n, 2>(args),)*
                    $(($narrow, 16) => tile::<F32x16, Pair, $narrow, 1>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13; 14 15 16 17 18 19 20 21 22 23 24 25 26)
}

/// # Safety
/// As [`run`], with bf16 for the elements of C.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn run_rounded(rows: usize, panel: usize, args: &Tile) {
    // SAFETY: the caller's.
    unsafe { tile::rounded::<F32x16>(rows, panel, args, run) }
}

/// Strips of outputs side by side.
pub(super) static DIRECT: &[(usize, RunStrip)] =
    &[(16, strip::<16>), (8, strip::<8>), (4, strip::<4>), (2, strip::<2>), (1, strip::<1>)];

/// The same with bf16 for outputs.
pub(super) static DIRECT_ROUNDED: &[(usize, RunStrip)] = &[
    (16, strip_rounded::<16>),
    (8, strip_rounded::<8>),
    (4, strip_rounded::<4>),
    (2, strip_rounded::<2>),
    (1, strip_rounded::<1>),
];

/// # Safety
/// As `direct::strip`, on a CPU with AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
unsafe fn strip<const R: usize>(args: &Strip<'_>) {
    // SAFETY: the caller's.
    unsafe { direct::strip::<F32x16, Pair, R>(args) }
}

/// # Safety
/// As [`strip`], with bf16 for outputs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
unsafe fn strip_rounded<const R: usize>(args: &Strip<'_>) {
    // SAFETY: the caller's.
    unsafe { tile::rounded_strip::<F32x16, R>(args, strip::<R>) }
}

/// # Safety
/// This CPU has AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn locate(windows: &Windows<'_>, tiles: &Tiles, ks: Range<usize>, to: &mut [Run]) {
    windows.locate(tiles, ks, to);
}

/// # Safety
/// This CPU has AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn round(from: &[f32], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::round::<F32x16>(from, to) }
}

/// # Safety
/// This CPU has AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn widen(from: &[f32], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::widen::<F32x16>(from, to) }
}

/// # Safety
/// This CPU has AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn pair(first: &[f32], second: &[f32], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::pair::<F32x16>(first, second, to) }
}
