//! The definition, for every CPU.

use super::bf16;
use crate::gemm::{scalar, tile::Tile};

/// # Safety
/// As `gemm::scalar::run`.
pub(super) unsafe fn run(rows: usize, panel: usize, args: &Tile) {
    let halves = |pair: f32| {
        let bits = pair.to_bits();
        (bf16::widen(bits as u16), bf16::widen((bits >> 16) as u16))
    };
    // SAFETY: the caller's.
    unsafe {
        scalar::run_with(rows, panel, args, |sum, x, b| {
            let ((x0, x1), (b0, b1)) = (halves(x), halves(b));
            sum + x0 * b0 + x1 * b1
        })
    }
}
