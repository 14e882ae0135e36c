//! The definition, for every CPU.

use super::tile;
use crate::gemm::{scalar, tile::Tile};
use crate::simd::Bf16;

/// # Safety
/// As `gemm::scalar::run`.
pub(super) unsafe fn run(rows: usize, panel: usize, args: &Tile) {
    // SAFETY: the caller's; one lane needs no instruction set.
    unsafe { scalar::run_with(rows, panel, args, |sum, x, b| x.add_pairs(b, sum)) }
}

/// # Safety
/// As [`run`], with bf16 for the elements of C.
pub(super) unsafe fn run_rounded(rows: usize, panel: usize, args: &Tile) {
    // SAFETY: the caller's.
    unsafe { tile::rounded::<f32>(rows, panel, args, run) }
}

/// As `tile::round`.
pub(super) fn round(from: &[f32], to: &mut [f32]) {
    // SAFETY: one lane needs no instruction set.
    unsafe { tile::round::<f32>(from, to) }
}

/// As `tile::widen`.
pub(super) fn widen(from: &[f32], to: &mut [f32]) {
    // SAFETY: as above.
    unsafe { tile::widen::<f32>(from, to) }
}

/// As `tile::pair`.
pub(super) fn pair(first: &[f32], second: &[f32], to: &mut [f32]) {
    // SAFETY: as above.
    unsafe { tile::pair::<f32>(first, second, to) }
}
