//! The loops of this family for AVX2 and FMA.

use super::lanes::{self, Rounds};
use crate::simd::F32x8;

/// # Safety
/// As `lanes::run`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x8>(rounds, n_vectors) }
}

/// # Safety
/// As `lanes::run_quads`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_quads(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::run_quads::<F32x8>(rounds, n_vectors) }
}
