//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, Part};
use crate::gemm::avx2::run;
use crate::simd::F32x8;

/// # Safety
/// As `lanes::part`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn part(part: &Part<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::part::<F32x8>(part, run) }
}
