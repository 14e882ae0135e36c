//! The loops of this family for any CPU.

use super::lanes::{self, Rounds};

/// # Safety
/// As `lanes::run`.
pub(super) unsafe fn run(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<f32>(rounds, n_vectors) }
}
