//! The loop of this family for AVX-512 F, BW, DQ, VL.

use super::lanes;
use crate::simd::F32x16;
use std::ops::Range;

/// # Safety
/// As `lanes::columns`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn columns(x: &[f32], size: [usize; 2], range: Range<usize>, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { lanes::columns::<F32x16>(x, size, range, out) }
}
