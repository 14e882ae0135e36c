//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, End, Grid, Places, Run};
use crate::simd::F32x16;
use std::ops::Range;

/// # Safety
/// As `lanes::products`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn products(run: &Run<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::products::<F32x16, 2, 8>(run) }
}

/// # Safety
/// As `lanes::dots`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn dots(run: &Run<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::dots::<F32x16, 2, 8>(run) }
}

/// # Safety
/// As `lanes::gather`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn gather(
    grid: Grid,
    from: *const f32,
    at: (&Places, &Places),
    channels: Range<usize>,
    to: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe { lanes::gather::<F32x16>(grid, from, at, channels, to) }
}

/// # Safety
/// As `lanes::scatter`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn scatter(grid: Grid, from: *const f32, at: (&Places, &Places), to: *mut f32, end: &End) {
    // SAFETY: the caller's.
    unsafe { lanes::scatter::<F32x16>(grid, from, at, to, end) }
}
