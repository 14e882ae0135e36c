//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, AdamwStep, SgdStep};
use super::{Adamw, Sgd};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::sgd`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn sgd(by: &Sgd, at: SgdStep) {
    // SAFETY: the caller's.
    unsafe { lanes::sgd::<F32x8>(by, at) }
}

/// # Safety
/// As `lanes::adamw`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn adamw(by: &Adamw, at: AdamwStep) {
    // SAFETY: the caller's.
    unsafe { lanes::adamw::<F32x8>(by, at) }
}
