//! Depthwise rows for AVX-512 F, BW, DQ, VL.

use super::depthwise::{self, Row};
use crate::simd::F32x16;

/// # Safety
/// As `depthwise::row`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn depthwise_row(row: &Row<'_>) {
    // SAFETY: the caller's.
    unsafe { depthwise::row::<F32x16>(row) }
}
