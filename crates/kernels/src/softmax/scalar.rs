//! The loops of this family for any instruction set.

use super::lanes::{self, Shares};

/// # Safety
/// As `lanes::log_softmax`, on a CPU with any instruction set.
pub(super) unsafe fn log_softmax(x: *const f32, out: *mut f32, rows: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::log_softmax::<f32>(x, out, rows, n) }
}

/// # Safety
/// As `lanes::gradient`, on a CPU with any instruction set.
pub(super) unsafe fn gradient(dy: *const f32, y: *const f32, dx: *mut f32, rows: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::gradient::<f32>(dy, y, dx, rows, n) }
}

/// # Safety
/// As `lanes::log_gradient`, on a CPU with any instruction set.
pub(super) unsafe fn log_gradient(dy: *const f32, y: *const f32, dx: *mut f32, rows: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::log_gradient::<f32>(dy, y, dx, rows, n) }
}

/// # Safety
/// As `lanes::shared`, on a CPU with any instruction set.
pub(super) unsafe fn shared(log_p: *const f32, shares: &Shares, n: usize) -> [f32; 2] {
    // SAFETY: the caller's.
    unsafe { lanes::shared::<f32>(log_p, shares, n) }
}

/// # Safety
/// As `lanes::loss_gradient`, on a CPU with any instruction set.
pub(super) unsafe fn loss_gradient(log_p: *const f32, shares: &Shares, by: [f32; 2], dx: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::loss_gradient::<f32>(log_p, shares, by, dx, n) }
}
