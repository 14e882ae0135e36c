//! The inner loops, written once.

use crate::conv_grad::tile::Segment;
use crate::simd::{Bf16, unrolled};

/// One call: `sums[row][col] += x[pair][row] · d[pair][col]` over all pairs of pixels of `segments`.
///
/// | pointer | reads or writes |
/// |---|---|
/// | `x` | from each segment on `n` times as many pairs as the tile has rows, `x_step` apart |
/// | `d` | from each segment on `n` times whole vectors of pairs, `d_step` apart |
/// | `sums` | rows `sums_stride` apart, whole vectors |
pub(in crate::conv_grad) struct PairTile<'a> {
    pub segments: &'a [Segment],
    pub x: *const f32,
    pub x_step: usize,
    pub d: *const f32,
    pub d_step: usize,
    pub sums: *mut f32,
    pub sums_stride: usize,
}

/// # Safety
/// The pointers are as the table of [`PairTile`] says for `ROWS` rows and `VECTORS` vectors; as [`Bf16`].
#[inline(always)]
pub(super) unsafe fn tile<V: Bf16, const ROWS: usize, const VECTORS: usize>(tile: &PairTile<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        unrolled!(ROWS, |row| unrolled!(VECTORS, at most 4, |vector| {
            sums[row][vector] = V::load(tile.sums.add(row * tile.sums_stride + vector * V::N));
        }));
        for segment in tile.segments {
            let (mut x, mut d) = (tile.x.add(segment.x), tile.d.add(segment.d));
            for _ in 0..segment.n {
                let mut columns = [V::splat(0.0); VECTORS];
                unrolled!(VECTORS, at most 4, |vector| columns[vector] = V::load(d.add(vector * V::N)));
                unrolled!(ROWS, |row| {
                    let x = V::splat(*x.add(row));
                    unrolled!(VECTORS, at most 4, |vector| {
                        sums[row][vector] = x.add_pairs(columns[vector], sums[row][vector]);
                    });
                });
                (x, d) = (x.wrapping_add(tile.x_step), d.wrapping_add(tile.d_step));
            }
        }
        unrolled!(ROWS, |row| unrolled!(VECTORS, at most 4, |vector| {
            sums[row][vector].store(tile.sums.add(row * tile.sums_stride + vector * V::N));
        }));
    }
}

/// A line of pixels that becomes pairs of pixels: entry `i` pairs `first + 2 i · stride` with the one `stride` after it. Pixels
/// outside of the line are 0.
pub(in crate::conv_grad) struct PairLine {
    /// The first channel of pixel 0, in bf16.
    pub from: *const u16,
    /// Pixels of the line, and numbers from one to the next.
    pub pixels: usize,
    pub step: usize,
    pub channels: usize,
    pub first: i64,
    pub stride: usize,
    /// How many entries there are.
    pub entries: usize,
    pub to: *mut f32,
    /// Elements from one entry to the next, all of which are written: those past the channels are 0.
    pub width: usize,
}

/// # Safety
/// The pointers have as many elements as the fields say; as [`Bf16`].
#[inline(always)]
pub(super) unsafe fn pack<V: Bf16>(line: &PairLine) {
    let pixels = line.pixels as i64;
    for entry in 0..line.entries {
        let first = line.first + (2 * entry * line.stride) as i64;
        let pair = [first, first + line.stride as i64];
        let is_inside = [(0..pixels).contains(&pair[0]), (0..pixels).contains(&pair[1])];
        let step = line.step as isize;
        let from =
            [line.from.wrapping_offset(pair[0] as isize * step), line.from.wrapping_offset(pair[1] as isize * step)];
        let to = line.to.wrapping_add(entry * line.width);
        let mut channel = 0;
        while channel < line.width {
            let n = line.channels.saturating_sub(channel).min(V::N);
            let n = [if is_inside[0] { n } else { 0 }, if is_inside[1] { n } else { 0 }];
            // SAFETY: the caller's; pixels outside are not read.
            unsafe {
                let pairs = V::load_pairs(from[0].wrapping_add(channel), from[1].wrapping_add(channel), n);
                if channel + V::N <= line.width {
                    pairs.store(to.add(channel));
                } else {
                    pairs.store_first(to.add(channel), line.width - channel);
                }
            }
            channel += V::N;
        }
    }
}
