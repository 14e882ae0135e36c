//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, Backward, Forward};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::normalize`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn normalize(of: &Forward) {
    // SAFETY: the caller's.
    unsafe { lanes::normalize::<F32x8>(of) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn gradient(of: &Backward) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<F32x8>(of) }
}
