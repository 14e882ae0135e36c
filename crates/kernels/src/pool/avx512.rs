//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, Gradient, Row};
use crate::simd::F32x16;

/// # Safety
/// As `lanes::row`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn row(row: &Row<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::row::<F32x16>(row) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn gradient(of: &Gradient) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<F32x16>(of) }
}
