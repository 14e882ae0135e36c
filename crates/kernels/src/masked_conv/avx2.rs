//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, End, Grid, Places, Run};
use crate::simd::F32x8;
use std::ops::Range;

/// # Safety
/// As `lanes::products`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn products(run: &Run<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::products::<F32x8, 2, 4>(run) }
}

/// # Safety
/// As `lanes::dots`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dots(run: &Run<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::dots::<F32x8, 2, 4>(run) }
}

/// # Safety
/// As `lanes::gather`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn gather(
    grid: Grid,
    from: *const f32,
    at: (&Places, &Places),
    channels: Range<usize>,
    to: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe { lanes::gather::<F32x8>(grid, from, at, channels, to) }
}

/// # Safety
/// As `lanes::scatter`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn scatter(grid: Grid, from: *const f32, at: (&Places, &Places), to: *mut f32, end: &End) {
    // SAFETY: the caller's.
    unsafe { lanes::scatter::<F32x8>(grid, from, at, to, end) }
}
