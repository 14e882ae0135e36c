//! One group of rows of weights against one to four vectors, written once for all instruction sets.

use crate::simd::quads::Quads;
use crate::simd::{Lanes, unrolled};

/// The rounds of one group of `V::N` rows.
pub(super) struct Rounds<'a> {
    /// Where the window of each round begins; [`AHEAD`] more than there are rounds.
    pub starts: &'a [u32],
    /// Of 1x4 blocks, instead of `starts` and `picks`: which four inputs each output has in each round.
    pub quads: &'a [u16],
    /// `V::N` weights a round.
    pub weights: *const f32,
    /// `V::N` positions in the window a round.
    pub picks: *const u8,
    /// The first vector, with a window of room after its end.
    pub x: *const f32,
    pub x_stride: usize,
    /// `V::N` sums a vector, one after the other.
    pub sums: *mut f32,
}

/// Windows whose place is read before it is needed; see `spmm`.
pub(super) const AHEAD: usize = 2;

/// # Safety
/// The pointers are as `rounds` says for `1 <= n_vectors <= 4`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn run<V: Lanes>(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe {
        match n_vectors {
            1 => vectors::<V, 1>(rounds),
            2 => vectors::<V, 2>(rounds),
            3 => vectors::<V, 3>(rounds),
            _ => vectors::<V, 4>(rounds),
        }
    }
}

/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn vectors<V: Lanes, const VECTORS: usize>(rounds: &Rounds<'_>) {
    // SAFETY: the caller's.
    unsafe {
        // Two sums a vector, in turn, so that one need not wait for the other.
        let (mut even, mut odd) = ([V::splat(0.0); VECTORS], [V::splat(0.0); VECTORS]);
        let (mut weights, mut picks) = (rounds.weights, rounds.picks);
        let (mut start, mut next) = (rounds.starts[0] as usize, rounds.starts[1] as usize);
        for &after in &rounds.starts[AHEAD..] {
            let weight = V::load(weights);
            for (i, sum) in even.iter_mut().enumerate() {
                *sum = weight.mul_add(V::pick(rounds.x.add(i * rounds.x_stride + start), picks), *sum);
            }
            (even, odd) = (odd, even);
            (start, next) = (next, after as usize);
            (weights, picks) = (weights.add(V::N), picks.add(V::N));
        }
        for (i, (&even, &odd)) in even.iter().zip(&odd).enumerate() {
            even.add(odd).store(rounds.sums.add(i * V::N));
        }
    }
}

/// [`run`] for 1x4 blocks: a group is `V::N / 4` rows, a round four inputs of each.
///
/// # Safety
/// As [`run`].
#[inline(always)]
pub(super) unsafe fn run_quads<V: Quads>(rounds: &Rounds<'_>, n_vectors: usize) {
    // SAFETY: the caller's.
    unsafe {
        match n_vectors {
            1 => quads::<V, 1>(rounds),
            2 => quads::<V, 2>(rounds),
            3 => quads::<V, 3>(rounds),
            _ => quads::<V, 4>(rounds),
        }
    }
}

/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn quads<V: Quads, const VECTORS: usize>(rounds: &Rounds<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let (mut even, mut odd) = ([V::splat(0.0); VECTORS], [V::splat(0.0); VECTORS]);
        let mut weights = rounds.weights;
        for at in rounds.quads.chunks_exact(V::N / 4) {
            let weight = V::load(weights);
            unrolled!(VECTORS, at most 4, |i| {
                let x = V::load_quads(rounds.x.add(i * rounds.x_stride), at.as_ptr());
                even[i] = weight.mul_add(x, even[i]);
            });
            (even, odd) = (odd, even);
            weights = weights.add(V::N);
        }
        unrolled!(VECTORS, at most 4, |i| {
            even[i].add(odd[i]).store_quad_sums(rounds.sums.add(i * V::N / 4));
        });
    }
}
