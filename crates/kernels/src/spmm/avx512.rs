//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::driver::{Block, Call};
use super::lanes;
use crate::simd::F32x16;

/// # Safety
/// As `lanes::run`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn pairs<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x16, lanes::Pairs, IS_BANDED>(call, block) }
}

/// # Safety
/// As `lanes::run`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn inputs<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x16, lanes::Inputs, IS_BANDED>(call, block) }
}

/// # Safety
/// As `lanes::run`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn quads<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x16, lanes::Quads, IS_BANDED>(call, block) }
}
