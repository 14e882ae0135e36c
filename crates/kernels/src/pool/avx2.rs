//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, Gradient, Row};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::row`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn row(row: &Row<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::row::<F32x8>(row) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn gradient(of: &Gradient) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<F32x8>(of) }
}
