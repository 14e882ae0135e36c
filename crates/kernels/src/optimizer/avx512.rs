//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, AdamwStep, SgdStep};
use super::{Adamw, Sgd};
use crate::simd::F32x16;

/// # Safety
/// As `lanes::sgd`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn sgd(by: &Sgd, at: SgdStep) {
    // SAFETY: the caller's.
    unsafe { lanes::sgd::<F32x16>(by, at) }
}

/// # Safety
/// As `lanes::adamw`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn adamw(by: &Adamw, at: AdamwStep) {
    // SAFETY: the caller's.
    unsafe { lanes::adamw::<F32x16>(by, at) }
}
