//! The tiles of `gemm::avx2`, with pairs of bf16 for elements: each is taken apart and multiplied in two steps, so this is half as
//! fast as f32. It is here so that what was begun in bf16 goes on elsewhere.

use super::tile::{self, Pair};
use crate::conv::direct::{self, Strip};
use crate::gemm::RunStrip;
use crate::gemm::tile::{Tile, tile};
use crate::simd::F32x8;

/// # Safety
/// As `gemm::avx2::run`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(rows: usize, panel: usize, args: &Tile) {
    macro_rules! by_rows {
        ($($n:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, panel) {
                    $(($n, 8) => tile::<F32x8, Pair, $n, 1>(args), ($n, _) => tile::<F32x8, Pair, $n, 2>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4)
}

/// # Safety
/// As [`run`], with bf16 for the elements of C.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_rounded(rows: usize, panel: usize, args: &Tile) {
    // SAFETY: the caller's.
    unsafe { tile::rounded::<F32x8>(rows, panel, args, run) }
}

/// Strips of outputs side by side.
pub(super) static DIRECT: &[(usize, RunStrip)] = &[(4, strip::<4>), (2, strip::<2>), (1, strip::<1>)];

/// The same with bf16 for outputs.
pub(super) static DIRECT_ROUNDED: &[(usize, RunStrip)] =
    &[(4, strip_rounded::<4>), (2, strip_rounded::<2>), (1, strip_rounded::<1>)];

/// # Safety
/// As `direct::strip`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn strip<const R: usize>(args: &Strip<'_>) {
    // SAFETY: the caller's.
    unsafe { direct::strip::<F32x8, Pair, R>(args) }
}

/// # Safety
/// As [`strip`], with bf16 for outputs.
#[target_feature(enable = "avx2,fma")]
unsafe fn strip_rounded<const R: usize>(args: &Strip<'_>) {
    // SAFETY: the caller's.
    unsafe { tile::rounded_strip::<F32x8, R>(args, strip::<R>) }
}

/// # Safety
/// This CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn round(from: &[f32], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::round::<F32x8>(from, to) }
}

/// # Safety
/// This CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn widen(from: &[f32], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::widen::<F32x8>(from, to) }
}

/// # Safety
/// This CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn pair(first: &[f32], second: &[f32], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::pair::<F32x8>(first, second, to) }
}
