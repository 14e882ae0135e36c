//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, Backward, Forward};
use crate::simd::F32x16;

/// # Safety
/// As `lanes::normalize`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn normalize(of: &Forward) {
    // SAFETY: the caller's.
    unsafe { lanes::normalize::<F32x16>(of) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn gradient(of: &Backward) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<F32x16>(of) }
}
