//! The loops of this family for AVX-512 F, BW, DQ, VL.

use super::lanes::{self, Rounds};
use crate::simd::F32x16;

/// # Safety
/// As `lanes::run`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn run(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<F32x16>(rounds, n_vectors) }
}

/// # Safety
/// As `lanes::run_quads`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn run_quads(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::run_quads::<F32x16>(rounds, n_vectors) }
}
