//! The loops of this family for any CPU.

use super::lanes::{self, Rounds};

/// # Safety
/// As `lanes::run`.
pub(super) unsafe fn run(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<f32>(rounds, n_vectors) }
}

/// # Safety
/// As `lanes::run_quads`, for one row.
pub(super) unsafe fn run_quads(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe {
        for vector in 0..n_vectors {
            let mut sums = [0.0f32; 4];
            for (round, &at) in rounds.quads.iter().enumerate() {
                let x =
                    rounds.x.add(vector * rounds.x_stride + 4 * usize::from(at)).cast::<[f32; 4]>().read_unaligned();
                let weights = rounds.weights.add(4 * round).cast::<[f32; 4]>().read_unaligned();
                (0..4).for_each(|i| sums[i] += x[i] * weights[i]);
            }
            rounds.sums.add(vector).write((sums[0] + sums[1]) + (sums[2] + sums[3]));
        }
    }
}
