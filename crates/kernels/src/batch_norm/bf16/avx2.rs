//! The loops of this family on bf16, for AVX2 and FMA.

use super::super::Half;
use super::super::lanes::{self, Gradient, Normalize, Rows, Sums};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::statistics`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn statistics(at: Rows, x: *const Half, shift: *const f32, out: [*mut f32; 2]) {
    // SAFETY: the caller's.
    unsafe { lanes::statistics::<F32x8, Half>(at, x, shift, out) }
}

/// # Safety
/// As `lanes::normalize`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn normalize(at: Rows, of: Normalize<Half>) {
    // SAFETY: the caller's.
    unsafe { lanes::normalize::<F32x8, Half>(at, of) }
}

/// # Safety
/// As `lanes::sums`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn sums(at: Rows, of: Sums<Half>) {
    // SAFETY: the caller's.
    unsafe { lanes::sums::<F32x8, Half>(at, of) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn gradient(at: Rows, of: Gradient<Half>) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<F32x8, Half>(at, of) }
}
