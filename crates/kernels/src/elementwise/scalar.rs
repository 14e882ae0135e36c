//! The loops over elements for any instruction set.

use super::{Binary, Operand, Unary, lanes};

/// # Safety
/// As `lanes::unary`, on a CPU with any instruction set.
pub(super) unsafe fn unary(op: Unary, x: *const f32, out: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::unary::<f32>(op, x, out, n) }
}

/// # Safety
/// As `lanes::binary`, on a CPU with any instruction set.
pub(super) unsafe fn binary(op: Binary, a: *const f32, b: Operand<'_>, start: usize, out: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::binary::<f32>(op, a, b, start, out, n) }
}

/// # Safety
/// As `lanes::scale_bias`, on a CPU with any instruction set.
pub(super) unsafe fn scale_bias(
    x: *const f32,
    scale: &[f32],
    bias: &[f32],
    clamp: (f32, f32),
    out: *mut f32,
    rows: usize,
) {
    // SAFETY: the caller's.
    unsafe { lanes::scale_bias::<f32>(x, scale, bias, clamp, out, rows) }
}
