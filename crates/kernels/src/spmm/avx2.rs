//! The loops of this family for AVX2 and FMA.

use super::driver::{Block, Call};
use super::lanes;
use crate::simd::F32x8;

/// # Safety
/// As `lanes::run`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn pairs(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x8, lanes::Pairs>(call, block) }
}

/// # Safety
/// As `lanes::run`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn quads(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x8, lanes::Quads>(call, block) }
}
