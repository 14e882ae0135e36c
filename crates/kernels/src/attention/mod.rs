//! Attention: `softmax(scale · Q Kᵀ + mask) · V` for many heads, without writing the scores to memory.
//!
//! A task packs the keys and values of one head, then takes its queries a few rows at a time: their scores stay in cache
//! between the two products. Each row is computed alone, so results do not depend on how rows are split.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

use crate::error::ShapeError;
use crate::gemm::{check_disjoint, check_strides, packed::packed_len};
use crate::threads::{Shareable, Threads};
use lanes::Part;
use std::cell::RefCell;

/// Sizes and strides of all heads.
///
/// Strides are in elements, `[from a token to the next, from an element to the next]`; so heads that lie side by side
/// inside `[tokens, heads · d]`, transposed keys and shared masks need no copies.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Queries of a head: rows of Q, of the mask and of the output.
    pub queries: usize,
    /// Keys of a head: rows of K and V.
    pub keys: usize,
    /// Elements of a query and of a key.
    pub d: usize,
    /// Elements of a value and of an output row.
    pub d_v: usize,
    /// Strides of Q.
    pub q_strides: [usize; 2],
    /// Strides of K, as `[keys, d]`.
    pub k_strides: [usize; 2],
    /// Strides of V.
    pub v_strides: [usize; 2],
    /// From a row of the mask to the next; 0 if one row serves all queries. Its elements are adjacent, one a key.
    pub mask_stride: usize,
    /// From a row of the output to the next; its elements are adjacent.
    pub out_stride: usize,
    /// Where each head begins.
    pub offsets: &'a [Offsets],
    /// Multiplied into the scores before the mask is added.
    pub scale: f32,
    /// Round Q, K and V when they are read, Q before it is scaled, as a quantized network does.
    pub side_grids: [Option<Grid>; 3],
    /// Rounds the scores before the mask is added.
    pub score_grid: Option<Grid>,
    /// Rounds what softmax gives.
    pub weight_grid: Option<Grid>,
}

/// What quantizing and dequantizing makes of `x`: `(clamp(round(x / scale) + zero_point, codes) - zero_point) · step`, ties
/// to even; NaN becomes the smallest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Distance of two numbers that are told apart.
    pub scale: f32,
    /// The code of 0.
    pub zero_point: i32,
    /// The smallest and the largest code.
    pub codes: [i32; 2],
    /// Distance of two numbers of the result: `scale`, unless a factor follows.
    pub step: f32,
}

/// Where a head begins in each slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offsets {
    /// In the queries.
    pub q: usize,
    /// In the keys.
    pub k: usize,
    /// In the values.
    pub v: usize,
    /// In the mask, if there is one.
    pub mask: usize,
    /// In the output.
    pub out: usize,
}

/// A variant of the loops.
pub struct Kernel {
    /// `attention_f32_{rows}x{columns}_{isa}`, the tile of its two products.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Rows of a tile.
    tile_rows: usize,
    /// Columns of a tile.
    panel: usize,
    run: unsafe fn(&Part),
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "attention_f32_13x32_avx512",
        is_supported: crate::isa::has_avx512,
        tile_rows: 13,
        panel: 32,
        run: avx512::part,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "attention_f32_6x16_avx2",
        is_supported: crate::isa::has_avx2,
        tile_rows: 6,
        panel: 16,
        run: avx2::part,
    },
    Kernel { name: "attention_f32_4x8_scalar", is_supported: || true, tile_rows: 4, panel: 8, run: scalar::part },
];

/// f32 of a cache line; every part of the scratch memory begins on one.
const LINE: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `out = softmax(scale · q · kᵀ + mask) · v` for every head.
///
/// A row whose scores are all -∞, or one of which is NaN, becomes NaN. Without keys the output is 0.
///
/// # Errors
/// [`ShapeError`] if a head reaches outside of its slice, or outputs overlap.
pub fn attention(
    threads: &Threads,
    shape: &Attention<'_>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    mask: Option<&[f32]>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().attention(threads, shape, q, k, v, mask, out)
}

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }

    /// [`attention`] with this variant.
    ///
    /// # Errors
    /// As [`attention`].
    ///
    /// # Panics
    /// If this CPU cannot run the variant.
    #[allow(clippy::too_many_arguments, reason = "the operands of one function")]
    pub fn attention(
        &self,
        threads: &Threads,
        shape: &Attention<'_>,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        mask: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
        check(shape, [q.len(), k.len(), v.len()], mask.map(<[f32]>::len), out.len())?;
        let Attention { queries, keys, d, d_v, .. } = *shape;
        if queries == 0 || d_v == 0 || shape.offsets.is_empty() {
            return Ok(());
        }
        let room = self.room(shape)?;
        // A head is one task if that keeps everybody busy: a part of its rows would pack the same keys again.
        let tiles = queries.div_ceil(self.tile_rows);
        let parts = (2 * threads.count()).div_ceil(shape.offsets.len()).min(tiles);
        let parts = if shape.offsets.len().is_multiple_of(threads.count()) { 1 } else { parts };
        let to = Shareable(out.as_mut_ptr());
        threads.run(shape.offsets.len() * parts, |task| {
            let at = shape.offsets[task / parts];
            let index = task % parts;
            let tiles = index * tiles / parts..(index + 1) * tiles / parts;
            let from = |slice: &[f32], offset: usize| slice.as_ptr().wrapping_add(offset);
            SCRATCH.with_borrow_mut(|scratch| {
                if scratch.len() < room.total + LINE {
                    scratch.resize(room.total + LINE, 0.0);
                }
                let start = scratch.as_ptr().align_offset(4 * LINE).min(LINE);
                let scratch = scratch[start..].as_mut_ptr();
                let part = Part {
                    shape: *shape,
                    tile_rows: self.tile_rows,
                    panel: self.panel,
                    tiles,
                    q: from(q, at.q),
                    k: from(k, at.k),
                    v: from(v, at.v),
                    mask: mask.map_or(std::ptr::null(), |mask| from(mask, at.mask)),
                    // SAFETY: inside `out`, checked above.
                    out: unsafe { to.at(at.out) },
                    packed_k: scratch,
                    packed_v: scratch.wrapping_add(room.values),
                    packed_q: scratch.wrapping_add(room.queries),
                    q_stride: d.next_multiple_of(LINE),
                    scores: scratch.wrapping_add(room.scores),
                    score_stride: score_stride(keys),
                };
                // SAFETY: `check` proved that the head stays inside its slices and that outputs of different heads are
                // disjoint; parts of a head are disjoint in rows; `room` made the scratch memory large enough; this CPU
                // can run the variant.
                unsafe { (self.run)(&part) }
            });
        });
        Ok(())
    }

    /// Where the parts of the scratch memory begin.
    fn room(&self, shape: &Attention<'_>) -> Result<Room, ShapeError> {
        let Attention { keys, d, d_v, .. } = *shape;
        for (what, sizes) in [("k", [keys, d]), ("v", [keys, d_v]), ("scores", [keys, self.tile_rows])] {
            let [a, b] = sizes.map(|size| size.saturating_add(2 * self.panel + LINE));
            ShapeError::product(what, &[a, b, 2])?;
        }
        let values = packed_len(self.panel, d, keys).next_multiple_of(LINE);
        let queries = values + packed_len(self.panel, keys, d_v).next_multiple_of(LINE);
        let scores = queries + self.tile_rows * d.next_multiple_of(LINE);
        Ok(Room { values, queries, scores, total: scores + self.tile_rows * score_stride(keys) })
    }
}

struct Room {
    values: usize,
    queries: usize,
    scores: usize,
    total: usize,
}

/// f32 from a row of scores to the next: whole vectors, and one more line so that rows do not share cache sets.
fn score_stride(keys: usize) -> usize {
    keys.next_multiple_of(LINE) + LINE
}

pub(crate) fn check(shape: &Attention<'_>, qkv: [usize; 3], mask: Option<usize>, out: usize) -> Result<(), ShapeError> {
    let Attention { queries, keys, d, d_v, out_stride, .. } = *shape;
    ShapeError::require(queries < 2 || out_stride >= d_v, "the row stride of `out`", out_stride, "at least `d_v`")?;
    for at in shape.offsets {
        let [q, k, v] = qkv;
        check_strides("q", q.saturating_sub(at.q), [queries, d], shape.q_strides)?;
        check_strides("k", k.saturating_sub(at.k), [keys, d], shape.k_strides)?;
        check_strides("v", v.saturating_sub(at.v), [keys, d_v], shape.v_strides)?;
        if let Some(mask) = mask {
            check_strides("mask", mask.saturating_sub(at.mask), [queries, keys], [shape.mask_stride, 1])?;
        }
        check_strides("out", out.saturating_sub(at.out), [queries, d_v], [out_stride, 1])?;
    }
    check_disjoint(queries, d_v, out_stride, shape.offsets.iter().map(|at| at.out).collect())
}
