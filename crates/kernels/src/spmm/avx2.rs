//! The loops of this family for AVX2 and FMA.

use super::driver::{Block, Call};
use super::lanes;
use crate::simd::F32x8;

/// # Safety
/// As `lanes::run`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn pairs<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x8, lanes::Pairs, IS_BANDED>(call, block) }
}

/// # Safety
/// As `lanes::run`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn inputs<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x8, lanes::Inputs, IS_BANDED>(call, block) }
}

/// # Safety
/// As `lanes::run`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn quads<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x8, lanes::Quads, IS_BANDED>(call, block) }
}
