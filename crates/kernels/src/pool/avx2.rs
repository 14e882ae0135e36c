//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, Row};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::row`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn row(row: &Row<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::row::<F32x8>(row) }
}
