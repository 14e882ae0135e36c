//! The loops of this family for any instruction set.

use super::{LayerNorm, Reduction, lanes};

/// # Safety
/// As `lanes::softmax`, on a CPU with any instruction set.
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
    unsafe { lanes::softmax::<f32>(x, mask, first_row, rows_a_mask, out, rows, n) }
}

/// # Safety
/// As `lanes::layer_norm`, on a CPU with any instruction set.
pub(super) unsafe fn layer_norm(
    x: *const f32,
    residual: *const f32,
    norm: &LayerNorm<'_>,
    out: *mut f32,
    rows: usize,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe { lanes::layer_norm::<f32>(x, residual, norm, out, rows, n) }
}

/// # Safety
/// As `lanes::reduce_row`, on a CPU with any instruction set.
pub(super) unsafe fn reduce_row(op: Reduction, x: *const f32, n: usize) -> f32 {
    // SAFETY: the caller's.
    unsafe { lanes::reduce_row::<f32>(op, x, n) }
}

/// # Safety
/// As `lanes::reduce_columns`, on a CPU with any instruction set.
pub(super) unsafe fn reduce_columns(
    op: Reduction,
    x: *const f32,
    n: usize,
    stride: usize,
    out: *mut f32,
    width: usize,
) {
    // SAFETY: the caller's.
    unsafe { lanes::reduce_columns::<f32>(op, x, n, stride, out, width) }
}
