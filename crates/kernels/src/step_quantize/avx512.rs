//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, Backward, Forward};
use crate::simd::F32x16;

/// # Safety
/// As `lanes::forward`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn forward(at: Forward) {
    // SAFETY: the caller's.
    unsafe { lanes::forward::<F32x16>(at) }
}

/// # Safety
/// As `lanes::backward`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn backward(at: Backward) {
    // SAFETY: the caller's.
    unsafe { lanes::backward::<F32x16>(at) }
}
