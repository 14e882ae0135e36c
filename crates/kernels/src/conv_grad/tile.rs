//! The inner loops of the weight gradient, written once: sums of `ROWS` input channels by `VECTORS` vectors of output channels
//! stay in registers while pixels pass by. Both sides are read where they are: NHWC needs no packing.

use crate::gemm::tile::prefetch;
use crate::simd::Lanes;

/// Pixels side by side: where the first is in the input and in the gradient, in floats, and how many there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub x: usize,
    pub d: usize,
    pub n: usize,
}

/// One call: `sums[row][col] += x[pixel][row] · d[pixel][col]` over all pixels of `segments`. Vectors of columns are those of one
/// pixel, side by side, or the same columns of pixels that other taps see.
///
/// | pointer | reads or writes |
/// |---|---|
/// | `x` | from each segment on `n` times as many floats as the tile has rows, `x_step` apart |
/// | `d` | from each segment on `n` times `n_cols` floats, `d_step` apart |
/// | `sums` | rows `sums_stride` apart, whole vectors |
pub(crate) struct Tile<'a> {
    pub segments: &'a [Segment],
    pub x: *const f32,
    pub x_step: usize,
    pub d: *const f32,
    pub d_step: usize,
    /// From one vector of columns to the next, in `d` and in `sums`.
    pub d_vector: isize,
    pub sums_vector: usize,
    /// Columns that one vector has less than the one before.
    pub vector_cols: usize,
    pub sums: *mut f32,
    pub sums_stride: usize,
    pub n_cols: usize,
    /// Fetched into L2 on the way, `next_step` floats further on for every pixel; need not be valid.
    pub next: *const f32,
    pub next_step: usize,
}

impl Tile<'_> {
    /// The columns of a vector of `lanes`.
    #[inline(always)]
    fn cols(&self, vector: usize, lanes: usize) -> usize {
        self.n_cols.saturating_sub(vector * self.vector_cols).min(lanes)
    }
}

/// # Safety
/// The pointers are as the table of [`Tile`] says for `ROWS` rows and `VECTORS` vectors; as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn tile<V: Lanes, const ROWS: usize, const VECTORS: usize>(tile: &Tile<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(tile.sums.add(row * tile.sums_stride + vector * tile.sums_vector));
            }
        }
        let mut next = tile.next;
        for segment in tile.segments {
            let (mut x, mut d) = (tile.x.add(segment.x), tile.d.add(segment.d));
            for _ in 0..segment.n {
                prefetch(next);
                next = next.wrapping_add(tile.next_step);
                let mut columns = [V::splat(0.0); VECTORS];
                for (vector, column) in columns.iter_mut().enumerate() {
                    let from = d.wrapping_offset(vector as isize * tile.d_vector);
                    *column = V::load_first(from, tile.cols(vector, V::N));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = V::splat(*x.add(row));
                    for (sum, &column) in sums.iter_mut().zip(&columns) {
                        *sum = x.mul_add(column, *sum);
                    }
                }
                (x, d) = (x.wrapping_add(tile.x_step), d.wrapping_add(tile.d_step));
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                sum.store(tile.sums.add(row * tile.sums_stride + vector * tile.sums_vector));
            }
        }
    }
}

/// Vectors of channels that a depthwise call sums at once.
pub(crate) const DEPTHWISE_VECTORS: usize = 4;

/// `sums[col] += x[pixel][col] · d[pixel][col]` for at most [`DEPTHWISE_VECTORS`] vectors of columns.
///
/// # Safety
/// As [`tile`]; `x` has `n_cols` floats a pixel, `sums` one row.
#[inline(always)]
pub(crate) unsafe fn depthwise<V: Lanes>(tile: &Tile<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [V::splat(0.0); DEPTHWISE_VECTORS];
        let mut lanes = [0; DEPTHWISE_VECTORS];
        for (vector, (sum, lanes)) in sums.iter_mut().zip(&mut lanes).enumerate() {
            *lanes = tile.n_cols.saturating_sub(vector * V::N).min(V::N);
            *sum = V::load_first(tile.sums.wrapping_add(vector * V::N), *lanes);
        }
        for segment in tile.segments {
            let (mut x, mut d) = (tile.x.add(segment.x), tile.d.add(segment.d));
            for _ in 0..segment.n {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    let column = V::load_first(d.wrapping_add(vector * V::N), lanes[vector]);
                    *sum = V::load_first(x.wrapping_add(vector * V::N), lanes[vector]).mul_add(column, *sum);
                }
                (x, d) = (x.wrapping_add(tile.x_step), d.wrapping_add(tile.d_step));
            }
        }
        for (vector, sum) in sums.iter().enumerate() {
            sum.store_first(tile.sums.wrapping_add(vector * V::N), lanes[vector]);
        }
    }
}

/// `to[col] = from[0][col] + from[1][col] + ..` (after what `to` holds, if it is to be kept), rows `stride` apart.
///
/// # Safety
/// `n_rows` rows of `to.len()` floats can be read; as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn add_rows<V: Lanes>(from: *const f32, stride: usize, n_rows: usize, is_kept: bool, to: &mut [f32]) {
    let n = to.len();
    let mut col = 0;
    while col < n {
        // Four vectors at once, or the sums would wait for each other.
        let lanes: [usize; 4] = [0, 1, 2, 3].map(|vector| n.saturating_sub(col + vector * V::N).min(V::N));
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [V::splat(0.0); 4];
            if is_kept {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load_first(to.as_ptr().wrapping_add(col + vector * V::N), lanes[vector]);
                }
            }
            for row in 0..n_rows {
                let from = from.wrapping_add(row * stride + col);
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(V::load_first(from.wrapping_add(vector * V::N), lanes[vector]));
                }
            }
            for (vector, sum) in sums.iter().enumerate() {
                sum.store_first(to.as_mut_ptr().wrapping_add(col + vector * V::N), lanes[vector]);
            }
        }
        col += 4 * V::N;
    }
}
