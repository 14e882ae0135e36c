//! The loop of this family for AVX2 and FMA.

use super::lanes;
use crate::simd::F32x8;
use std::ops::Range;

/// # Safety
/// As `lanes::columns`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn columns(x: &[f32], size: [usize; 2], range: Range<usize>, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { lanes::columns::<F32x8>(x, size, range, out) }
}
