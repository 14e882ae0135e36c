//! The loops of this family for AVX2 and FMA.

use super::lanes;
use crate::channels::Block;
use crate::simd::F32x8;

/// # Safety
/// As `lanes::columns`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn columns(block: &Block, x: *const f32, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { lanes::columns::<F32x8>(block, x, out) }
}

/// # Safety
/// As `lanes::squares`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn squares(x: *const f32, n: usize) -> f64 {
    // SAFETY: the caller's.
    unsafe { lanes::squares::<F32x8>(x, n) }
}
