//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, Backward, Forward};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::forward`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn forward(at: Forward) {
    // SAFETY: the caller's.
    unsafe { lanes::forward::<F32x8>(at) }
}

/// # Safety
/// As `lanes::backward`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn backward(at: Backward) {
    // SAFETY: the caller's.
    unsafe { lanes::backward::<F32x8>(at) }
}
