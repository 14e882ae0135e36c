//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, Part};
use crate::gemm::avx512::run;
use crate::simd::F32x16;

/// # Safety
/// As `lanes::part`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn part(part: &Part<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::part::<F32x16>(part, run) }
}
