//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes;
use crate::channels::Block;
use crate::simd::F32x16;

/// # Safety
/// As `lanes::columns`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn columns(block: &Block, x: *const f32, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { lanes::columns::<F32x16>(block, x, out) }
}

/// # Safety
/// As `lanes::squares`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn squares(x: *const f32, n: usize) -> f64 {
    // SAFETY: the caller's.
    unsafe { lanes::squares::<F32x16>(x, n) }
}
