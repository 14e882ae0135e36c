//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, Gradient, Normalize, Rows, Sums};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::statistics`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn statistics(at: Rows, x: *const f32, shift: *const f32, out: [*mut f32; 2]) {
    // SAFETY: the caller's.
    unsafe { lanes::statistics::<F32x8, f32>(at, x, shift, out) }
}

/// # Safety
/// As `lanes::normalize`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn normalize(at: Rows, of: Normalize<f32>) {
    // SAFETY: the caller's.
    unsafe { lanes::normalize::<F32x8, f32>(at, of) }
}

/// # Safety
/// As `lanes::sums`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn sums(at: Rows, of: Sums<f32>) {
    // SAFETY: the caller's.
    unsafe { lanes::sums::<F32x8, f32>(at, of) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn gradient(at: Rows, of: Gradient<f32>) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<F32x8, f32>(at, of) }
}
