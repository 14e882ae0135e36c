//! The loops of this family for AVX2 and FMA.

use super::{LayerNorm, Reduction, lanes};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::softmax`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn softmax(
    x: *const f32,
    mask: *const f32,
    first_row: usize,
    rows_a_mask: usize,
    out: *mut f32,
    rows: usize,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe { lanes::softmax::<F32x8>(x, mask, first_row, rows_a_mask, out, rows, n) }
}

/// # Safety
/// As `lanes::layer_norm`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn layer_norm(
    x: *const f32,
    residual: *const f32,
    norm: &LayerNorm<'_>,
    out: *mut f32,
    rows: usize,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe { lanes::layer_norm::<F32x8>(x, residual, norm, out, rows, n) }
}

/// # Safety
/// As `lanes::reduce_row`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn reduce_row(op: Reduction, x: *const f32, n: usize) -> f32 {
    // SAFETY: the caller's.
    unsafe { lanes::reduce_row::<F32x8>(op, x, n) }
}

/// # Safety
/// As `lanes::reduce_columns`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn reduce_columns(
    op: Reduction,
    x: *const f32,
    n: usize,
    stride: usize,
    out: *mut f32,
    width: usize,
) {
    // SAFETY: the caller's.
    unsafe { lanes::reduce_columns::<F32x8>(op, x, n, stride, out, width) }
}
