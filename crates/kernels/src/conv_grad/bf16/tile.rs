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

impl PairLine {
    /// The pixels of an entry.
    #[inline(always)]
    fn pair(&self, entry: usize) -> [i64; 2] {
        let first = self.first + (2 * entry * self.stride) as i64;
        [first, first + self.stride as i64]
    }

    /// Where a pixel is, inside of the line or not.
    #[inline(always)]
    fn at(&self, pixel: i64) -> *const u16 {
        self.from.wrapping_offset(pixel as isize * self.step as isize)
    }

    /// The entries both of whose pixels are inside.
    #[inline(always)]
    fn whole(&self) -> (usize, usize) {
        let start = ((-self.first).max(0) as usize).div_ceil(2 * self.stride);
        let room = self.pixels as i64 - self.first - self.stride as i64;
        let end = if room > 0 { (room as usize).div_ceil(2 * self.stride) } else { 0 };
        let start = start.min(self.entries);
        (start, end.min(self.entries).max(start))
    }
}

/// # Safety
/// The pointers have as many elements as the fields say; as [`Bf16`].
#[inline(always)]
pub(super) unsafe fn pack<V: Bf16>(line: &PairLine) {
    let (start, end) = line.whole();
    let is_whole = line.width == line.channels;
    // SAFETY, all: the caller's.
    if is_whole && line.channels == V::N && line.step == V::N && line.stride == 1 {
        for entry in start..end {
            // SAFETY: above; both pixels are inside, one after the other.
            unsafe { V::load_pairs_in_one(line.at(line.pair(entry)[0])).store(line.to.add(entry * line.width)) };
        }
    } else if is_whole && line.channels.is_multiple_of(2 * V::N) {
        for entry in start..end {
            let [first, second] = line.pair(entry);
            let (first, second, to) = (line.at(first), line.at(second), line.to.wrapping_add(entry * line.width));
            let mut channel = 0;
            while channel < line.channels {
                // SAFETY: above; both pixels are inside.
                unsafe {
                    let [low, high] = V::load_pairs_twice(first.add(channel), second.add(channel));
                    low.store(to.add(channel));
                    high.store(to.add(channel + V::N));
                }
                channel += 2 * V::N;
            }
        }
    } else {
        for entry in start..end {
            // SAFETY: above.
            unsafe { pack_entry::<V>(line, entry) };
        }
    }
    for entry in (0..start).chain(end..line.entries) {
        // SAFETY: above.
        unsafe { pack_entry::<V>(line, entry) };
    }
}

/// # Safety
/// As [`pack`].
#[inline(always)]
unsafe fn pack_entry<V: Bf16>(line: &PairLine, entry: usize) {
    let [first, second] = line.pair(entry);
    let inside = 0..line.pixels as i64;
    let limits = [
        if inside.contains(&first) { line.channels } else { 0 },
        if inside.contains(&second) { line.channels } else { 0 },
    ];
    let (first, second, to) = (line.at(first), line.at(second), line.to.wrapping_add(entry * line.width));
    let mut channel = 0;
    while channel < line.width {
        let n = [limits[0].saturating_sub(channel).min(V::N), limits[1].saturating_sub(channel).min(V::N)];
        // SAFETY: the caller's; pixels outside are not read.
        unsafe {
            let pairs = V::load_pairs(first.wrapping_add(channel), second.wrapping_add(channel), n);
            if channel + V::N <= line.width {
                pairs.store(to.add(channel));
            } else {
                pairs.store_first(to.add(channel), line.width - channel);
            }
        }
        channel += V::N;
    }
}
