//! The loops of one part of a head, written once for all instruction sets.

use super::{Attention, Grid};
use crate::gemm::packed::{Panel, packed_len, panel};
use crate::gemm::tile::{self, Tile};
use crate::simd::{Lanes, math};
use std::ops::Range;

/// Some rows of the queries of one head, and memory to work in.
pub(super) struct Part<'a> {
    pub shape: Attention<'a>,
    /// Rows of a tile, at most.
    pub tile_rows: usize,
    /// Columns of a panel.
    pub panel: usize,
    /// Which of the `queries.div_ceil(tile_rows)` tiles of rows are computed.
    pub tiles: Range<usize>,
    /// The head, in its slices; the mask may be null.
    pub q: *const f32,
    pub k: *const f32,
    pub v: *const f32,
    pub mask: *const f32,
    pub out: *mut f32,
    /// Room for the packed sides, for the rows of a tile of queries and for their scores.
    pub packed_k: *mut f32,
    pub packed_v: *mut f32,
    pub packed_q: *mut f32,
    /// Elements between packed queries: whole cache lines.
    pub q_stride: usize,
    pub scores: *mut f32,
    /// Elements between rows of scores: at least the keys, rounded up to a whole vector.
    pub score_stride: usize,
}

/// `(rows, width of the panel, tile)`: the inner loop of a product.
type RunTile = unsafe fn(usize, usize, &Tile);

/// # Safety
/// The pointers of `part` are as its fields say, the head is inside its slices, nobody else touches the rows of these
/// tiles or the room, and this CPU has the instruction set of `V` and of `run`, whose tiles are `tile_rows × panel`.
#[inline(always)]
pub(super) unsafe fn part<V: Lanes>(part: &Part<'_>, run: RunTile) {
    let Attention { queries, keys, d, d_v, out_stride, .. } = part.shape;
    let n_tiles = queries.div_ceil(part.tile_rows);
    // SAFETY: the caller's, in every call.
    unsafe {
        pack_keys::<V>(part);
        pack_values::<V>(part);
        let [_, k_grid, v_grid] = &part.shape.side_grids;
        if let Some(grid) = k_grid {
            round_row::<V>(part.packed_k, packed_len(part.panel, d, keys), 1.0, grid);
        }
        if let Some(grid) = v_grid {
            round_row::<V>(part.packed_v, packed_len(part.panel, keys, d_v), 1.0, grid);
        }
        for tile in part.tiles.clone() {
            let rows = tile * queries / n_tiles..(tile + 1) * queries / n_tiles;
            pack_queries::<V>(part, rows.clone());
            product(part, run, rows.len(), [part.packed_q, part.packed_k], part.q_stride, [d, keys], {
                (part.scores, part.score_stride, keys.next_multiple_of(V::N))
            });
            let mut shares = powers::<V>(part, rows.clone()).map(|sum| 1.0 / sum.sum());
            if let Some(grid) = &part.shape.weight_grid {
                for (row, share) in shares[..rows.len()].iter_mut().enumerate() {
                    let weights = part.scores.add(row * part.score_stride);
                    round_row::<V>(weights, keys.next_multiple_of(V::N), *share, grid);
                    *share = 1.0;
                }
            }
            let out = part.out.add(rows.start * out_stride);
            product(part, run, rows.len(), [part.scores, part.packed_v], part.score_stride, [keys, d_v], {
                (out, out_stride, d_v)
            });
            if keys > 0 {
                for (row, share) in shares[..rows.len()].iter().enumerate() {
                    let out = out.add(row * out_stride);
                    scale_row::<V>(out, d_v, *share, out);
                }
            }
        }
    }
}

/// The most rows of a tile of any instruction set.
const MAX_ROWS: usize = 16;

/// `c = a · b` for the rows of one tile, `b` packed in panels; of the columns at most `n_stored` are written.
///
/// # Safety
/// As [`part`]; `a` has `rows` rows of `k`, `c` rows of `n_stored`, the latter no more than `n` rounded up to a vector.
#[inline(always)]
unsafe fn product(
    part: &Part<'_>,
    run: RunTile,
    rows: usize,
    [a, b]: [*const f32; 2],
    a_stride: usize,
    [k, n]: [usize; 2],
    (c, c_stride, n_stored): (*mut f32, usize, usize),
) {
    // Slots past the rows are not read.
    let a: tile::Run = std::array::from_fn(|row| a.wrapping_add(row * a_stride));
    for index in 0..n.div_ceil(part.panel) {
        let Panel { col, width, offset, .. } = panel(index, part.panel, k, n);
        // SAFETY: the caller's; the panel is inside `b`, which was packed for these sizes.
        unsafe {
            let b = b.add(offset);
            let tile = Tile {
                runs: &a,
                n_runs: 1,
                run_len: k,
                b,
                next: b.wrapping_add(width * k),
                c: c.add(col),
                c_stride,
                n_cols: width.min(n_stored - col),
                accumulate: false,
                finish: None,
            };
            run(rows, width, &tile);
        }
    }
}

/// The scores of these rows, the mask added to them if there is one, become `e^(score - largest of the row)`; gives the
/// sums of each row, lane by lane.
///
/// # Safety
/// As [`part`].
#[inline(always)]
unsafe fn powers<V: Lanes>(part: &Part<'_>, rows: Range<usize>) -> [V; MAX_ROWS] {
    let n = part.shape.keys;
    let padded = n.next_multiple_of(V::N);
    // SAFETY: the caller's; rows of scores have room for whole vectors.
    unsafe {
        // One row after the other would wait for each row's largest: so first all of them, then all powers.
        let mut tops = [V::splat(f32::NEG_INFINITY); MAX_ROWS];
        for (index, (row, top)) in rows.clone().zip(&mut tops).enumerate() {
            let scores = part.scores.add(index * part.score_stride);
            if let Some(grid) = &part.shape.score_grid {
                round_row::<V>(scores, padded, 1.0, grid);
            }
            for i in n..padded {
                *scores.add(i) = f32::NEG_INFINITY;
            }
            if !part.mask.is_null() {
                let mask = part.mask.add(row * part.shape.mask_stride);
                for i in (0..padded).step_by(V::N) {
                    V::load(scores.add(i)).add(load(mask, i, n)).store(scores.add(i));
                }
            }
            // A NaN need not survive here, because its power is NaN whatever is subtracted.
            for i in (0..padded).step_by(V::N) {
                *top = V::load(scores.add(i)).at_least(*top);
            }
        }
        let mut sums = [V::splat(0.0); MAX_ROWS];
        for (index, (top, sum)) in tops[..rows.len()].iter().zip(&mut sums).enumerate() {
            let (scores, top) = (part.scores.add(index * part.score_stride), V::splat(top.largest()));
            for i in (0..padded).step_by(V::N) {
                let power = math::exp_of_negative(V::load(scores.add(i)).sub(top));
                power.store(scores.add(i));
                *sum = sum.add(power);
            }
        }
        sums
    }
}

/// Multiplies `n` numbers, whole vectors, by `factor` and rounds them to a grid.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn round_row<V: Lanes>(x: *mut f32, n: usize, factor: f32, grid: &Grid) {
    // SAFETY: the caller's.
    unsafe {
        let (factor, step) = (V::splat(factor / grid.scale), V::splat(grid.step));
        // Codes without their zero point; the limits stay where `x` is NaN.
        let [low, high] = grid.codes.map(|code| V::splat((code - grid.zero_point) as f32));
        for i in (0..n).step_by(V::N) {
            let code = V::load(x.add(i)).mul(factor).round();
            low.at_least(code).at_most(high).mul(step).store(x.add(i));
        }
    }
}

/// The keys as panels of columns `[d][keys]`.
///
/// # Safety
/// As [`part`].
#[inline(always)]
unsafe fn pack_keys<V: Lanes>(part: &Part<'_>) {
    let Attention { keys, d, k_strides: [token, element], .. } = part.shape;
    for index in 0..keys.div_ceil(part.panel) {
        let Panel { col, width, n_cols, offset } = panel(index, part.panel, d, keys);
        // SAFETY: the caller's; the panel has `d` rows of `width`.
        unsafe {
            let (from, to) = (part.k.add(col * token), part.packed_k.add(offset));
            if token == 1 {
                copy_rows::<V>(from, element, to, d, [n_cols, width]);
                continue;
            }
            let whole = |len: usize| if element == 1 { len - len % V::N } else { 0 };
            let (whole_cols, whole_rows) = (whole(n_cols), whole(d));
            for first in (0..whole_cols).step_by(V::N) {
                for row in (0..whole_rows).step_by(V::N) {
                    V::transpose(from.add(first * token + row), token, to.add(row * width + first), width);
                }
            }
            for col in 0..width {
                let start = if col < whole_cols { whole_rows } else { 0 };
                for row in start..d {
                    let x = if col < n_cols { *from.add(col * token + row * element) } else { 0.0 };
                    *to.add(row * width + col) = x;
                }
            }
        }
    }
}

/// The values as panels of columns `[keys][d_v]`.
///
/// # Safety
/// As [`part`].
#[inline(always)]
unsafe fn pack_values<V: Lanes>(part: &Part<'_>) {
    let Attention { keys, d_v, v_strides: [token, element], .. } = part.shape;
    for index in 0..d_v.div_ceil(part.panel) {
        let Panel { col, width, n_cols, offset } = panel(index, part.panel, keys, d_v);
        // SAFETY: the caller's; the panel has `keys` rows of `width`.
        unsafe {
            let (from, to) = (part.v.add(col * element), part.packed_v.add(offset));
            if element == 1 {
                copy_rows::<V>(from, token, to, keys, [n_cols, width]);
                continue;
            }
            for row in 0..keys {
                for col in 0..width {
                    let x = if col < n_cols { *from.add(row * token + col * element) } else { 0.0 };
                    *to.add(row * width + col) = x;
                }
            }
        }
    }
}

/// The vector at `i` of `n` floats, zeros after them. A mask that is computed costs more than the choice.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn load<V: Lanes>(from: *const f32, i: usize, n: usize) -> V {
    // SAFETY: the caller's.
    unsafe {
        if i + V::N <= n {
            V::load(from.wrapping_add(i))
        } else {
            V::load_first(from.wrapping_add(i), n.saturating_sub(i))
        }
    }
}

/// Copies `rows` rows of `n` elements, `stride` apart, into rows of `width`, filled up with zeros.
///
/// # Safety
/// As [`part`]; `width` is a multiple of the vector.
#[inline(always)]
unsafe fn copy_rows<V: Lanes>(from: *const f32, stride: usize, to: *mut f32, rows: usize, [n, width]: [usize; 2]) {
    // SAFETY: the caller's.
    unsafe {
        for row in 0..rows {
            let (from, to) = (from.wrapping_add(row * stride), to.add(row * width));
            for i in (0..width).step_by(V::N) {
                load::<V>(from, i, n).store(to.add(i));
            }
        }
    }
}

/// The queries of a tile, times the scale.
///
/// # Safety
/// As [`part`].
#[inline(always)]
unsafe fn pack_queries<V: Lanes>(part: &Part<'_>, rows: Range<usize>) {
    let Attention { d, q_strides: [token, element], scale, side_grids: [grid, ..], .. } = part.shape;
    let factor = if grid.is_some() { 1.0 } else { scale };
    for (index, row) in rows.enumerate() {
        // SAFETY: the caller's; a packed query has room for whole vectors.
        unsafe {
            let (from, to) = (part.q.add(row * token), part.packed_q.add(index * part.q_stride));
            if element == 1 {
                scale_row::<V>(from, d, factor, to);
            } else {
                for i in 0..d {
                    *to.add(i) = *from.add(i * element) * factor;
                }
            }
            if let Some(grid) = grid {
                round_row::<V>(to, d.next_multiple_of(V::N), 1.0, &Grid { step: grid.step * scale, ..grid });
            }
        }
    }
}

/// # Safety
/// As [`Lanes`]; `n` elements at `from` and `to`, which may be the same.
#[inline(always)]
unsafe fn scale_row<V: Lanes>(from: *const f32, n: usize, factor: f32, to: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        let factor = V::splat(factor);
        let whole = n - n % V::N;
        for i in (0..whole).step_by(V::N) {
            V::load(from.add(i)).mul(factor).store(to.add(i));
        }
        if whole < n {
            V::load_first(from.add(whole), n - whole).mul(factor).store_first(to.add(whole), n - whole);
        }
    }
}
