//! The loops of this family for AVX2 and FMA.

use super::lanes;
use crate::simd::F32x8;

/// # Safety
/// As `lanes::quantize`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn quantize(x: *const f32, scale: f32, shift: f32, flip: u8, out: *mut u8, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::quantize::<F32x8>(x, scale, shift, flip, out, n) }
}

/// # Safety
/// As `lanes::dequantize`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dequantize_u8(x: *const u8, scale: f32, zero_point: f32, out: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::dequantize::<F32x8, false>(x, scale, zero_point, out, n) }
}

/// # Safety
/// As `lanes::dequantize`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dequantize_i8(x: *const u8, scale: f32, zero_point: f32, out: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::dequantize::<F32x8, true>(x, scale, zero_point, out, n) }
}

/// # Safety
/// As `lanes::add`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn add(sum: &lanes::Sum, are_signed: [bool; 2], a: *const u8, b: *const u8, out: *mut u8, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::add_any::<F32x8>(sum, are_signed, a, b, out, n) }
}

/// # Safety
/// As `lanes::dequantize_add_any`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dequantize_add(
    is_signed: bool,
    x: *const u8,
    grid: [f32; 2],
    addend: *const f32,
    out: *mut f32,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe { lanes::dequantize_add_any::<F32x8>(is_signed, x, grid, addend, out, n) }
}

/// # Safety
/// As `lanes::round`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn round(x: *mut f32, scale: f32, limits: [f32; 2], n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::round::<F32x8>(x, scale, limits, n) }
}
