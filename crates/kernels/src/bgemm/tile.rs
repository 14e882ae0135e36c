//! What the tiles of `gemm` and the strips of `conv` need to work on pairs, and to end in bf16.

use crate::conv::direct::Strip;
use crate::gemm::RunStrip;
use crate::gemm::tile::{Terms, Tile};
use crate::simd::{Bf16, unrolled};

/// The products of a pair.
pub(super) struct Pair;

impl<V: Bf16> Terms<V> for Pair {
    #[inline(always)]
    unsafe fn add(x: V, column: V, sum: V) -> V {
        // SAFETY: the caller's.
        unsafe { x.add_pairs(column, sum) }
    }
}

/// Floats of the largest tile and of the largest strip.
const ROOM: usize = 13 * 32;
/// Outputs of the largest strip.
const STRIP: usize = 16;

/// Numbers in f32 that become rows of bf16: bias, residual and clamp as in `gemm::tile::Finish`.
struct Rows<'a> {
    sums: &'a [f32; ROOM],
    rows: usize,
    /// Floats of a row of `sums`.
    width: usize,
    n_cols: usize,
    bias: *const f32,
    /// bf16, laid out as `to`, or null.
    residual: *const u16,
    clamp: (f32, f32),
    to: *mut u16,
    /// From one row of `to` to the next.
    stride: usize,
}

impl Rows<'_> {
    /// # Safety
    /// The pointers have as many elements as the fields say; as [`Bf16`].
    #[inline(always)]
    unsafe fn end<V: Bf16>(&self) {
        // SAFETY: the caller's.
        unsafe {
            let (min, max) = (V::splat(self.clamp.0), V::splat(self.clamp.1));
            if self.bias.is_null() && self.residual.is_null() && self.n_cols.is_multiple_of(V::N) {
                for row in 0..self.rows {
                    for col in (0..self.n_cols).step_by(V::N) {
                        let sum = V::load(self.sums.as_ptr().add(row * self.width + col));
                        sum.at_least(min).at_most(max).store_bf16(self.to.add(row * self.stride + col), V::N);
                    }
                }
                return;
            }
            for col in (0..self.n_cols).step_by(V::N) {
                let n = (self.n_cols - col).min(V::N);
                let bias = if self.bias.is_null() { V::splat(0.0) } else { V::load_first(self.bias.add(col), n) };
                for row in 0..self.rows {
                    let mut sum = V::load(self.sums.as_ptr().add(row * self.width + col)).add(bias);
                    if !self.residual.is_null() {
                        sum = sum.add(V::load_bf16(self.residual.add(row * self.stride + col), n));
                    }
                    sum.at_least(min).at_most(max).store_bf16(self.to.add(row * self.stride + col), n);
                }
            }
        }
    }
}

/// A tile of `run`, whose C is f32, ended in bf16. It is whole in K.
///
/// # Safety
/// As `run`, with bf16 at `c` and the residual; as [`Bf16`].
#[inline(always)]
pub(super) unsafe fn rounded<V: Bf16>(rows: usize, panel: usize, args: &Tile, run: unsafe fn(usize, usize, &Tile)) {
    let mut sums = [0.0f32; ROOM];
    let own = Tile { c: sums.as_mut_ptr(), c_stride: panel, n_cols: panel, accumulate: false, finish: None, ..*args };
    // SAFETY: the caller's; there is room for the largest tile.
    unsafe {
        run(rows, panel, &own);
        let none = (std::ptr::null(), std::ptr::null(), f32::NEG_INFINITY, f32::INFINITY);
        let (bias, residual, min, max) =
            args.finish.as_ref().map_or(none, |finish| (finish.bias, finish.residual, finish.min, finish.max));
        let rows = Rows {
            sums: &sums,
            rows,
            width: panel,
            n_cols: args.n_cols,
            bias,
            residual: residual.cast(),
            clamp: (min, max),
            to: args.c.cast(),
            stride: args.c_stride,
        };
        rows.end::<V>();
    }
}

/// A strip of `run`, whose outputs are f32, ended in bf16.
///
/// # Safety
/// As `run`, with bf16 at `out` and the residual; as [`Bf16`].
#[inline(always)]
pub(super) unsafe fn rounded_strip<V: Bf16, const R: usize>(args: &Strip<'_>, run: RunStrip) {
    const { assert!(R <= STRIP && R * V::N <= ROOM) };
    let mut sums = [0.0f32; ROOM];
    let clamp = (f32::NEG_INFINITY, f32::INFINITY);
    let (bias, residual) = (std::ptr::null(), std::ptr::null());
    let own = Strip { out: sums.as_mut_ptr(), n_cols: V::N, bias, residual, clamp, ..*args };
    // SAFETY: the caller's; there is room for the largest strip.
    unsafe {
        run(&own);
        let rows = Rows {
            sums: &sums,
            rows: R,
            width: V::N,
            n_cols: args.n_cols,
            bias: args.bias,
            residual: args.residual.cast(),
            clamp: args.clamp,
            to: args.out.cast(),
            stride: args.n_cols,
        };
        rows.end::<V>();
    }
}

/// Rounds `from`, two to each element of `to`; a missing last one is 0.
///
/// # Safety
/// As [`Bf16`].
#[inline(always)]
pub(super) unsafe fn round<V: Bf16>(from: &[f32], to: &mut [f32]) {
    let to = &mut to[..from.len().div_ceil(2)];
    let out = to.as_mut_ptr().cast::<u16>();
    let whole = from.len() - from.len() % (4 * V::N);
    for at in (0..whole).step_by(4 * V::N) {
        unrolled!(4, at most 4, |i| {
            let at = at + i * V::N;
            // SAFETY: the caller's; `to` has two bf16 for every element, and so `from.len()` at least.
            unsafe { V::load(from.as_ptr().add(at)).store_bf16(out.add(at), V::N) }
        });
    }
    super::bf16::round_pairs(&from[whole..], &mut to[whole / 2..]);
}

/// Pairs of the numbers of `first` and `second`, as many as `to` has; an empty second is zeros.
///
/// # Safety
/// As [`Bf16`].
#[inline(always)]
pub(super) unsafe fn pair<V: Bf16>(first: &[f32], second: &[f32], to: &mut [f32]) {
    let first = &first[..to.len()];
    let has_second = !second.is_empty();
    let second = if has_second { &second[..to.len()] } else { first };
    for at in (0..to.len()).step_by(V::N) {
        let n = (to.len() - at).min(V::N);
        // SAFETY: the caller's; all have `n` elements from `at` on.
        unsafe {
            let (first, second) = (V::load_first(first.as_ptr().add(at), n), V::load_first(second.as_ptr().add(at), n));
            let second = if has_second { second } else { V::splat(0.0) };
            first.pair(second).store_first(to.as_mut_ptr().add(at), n);
        }
    }
}

/// The numbers of the pairs `from`, as many as `to` has.
///
/// # Safety
/// As [`Bf16`].
#[inline(always)]
pub(super) unsafe fn widen<V: Bf16>(from: &[f32], to: &mut [f32]) {
    let from = &from[..to.len().div_ceil(2)];
    for at in (0..to.len()).step_by(V::N) {
        let n = (to.len() - at).min(V::N);
        // SAFETY: the caller's; both sides have `n` elements from `at` on.
        unsafe { V::load_bf16(from.as_ptr().cast::<u16>().add(at), n).store_first(to.as_mut_ptr().add(at), n) }
    }
}
