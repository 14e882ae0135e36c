//! Depthwise rows for AVX2 and FMA.

use super::depthwise::{self, Row};
use crate::simd::F32x8;

/// # Safety
/// As `depthwise::row`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn depthwise_row(row: &Row<'_>) {
    // SAFETY: the caller's.
    unsafe { depthwise::row::<F32x8>(row) }
}
