//! A matrix whose columns are channels, cut into tasks: the same at any number of threads.

use crate::error::ShapeError;
use crate::threads::{Shareable, Threads};

/// Columns that loops have in registers at best, and the lanes of the widest instruction set.
const STRIPS: [usize; 2] = [64, 16];

/// Widest row that is made of several narrow ones.
const WIDEST: usize = 1024;

/// Columns of a task that sums.
pub(crate) const COLUMNS: usize = 1024;

/// Elements of a task that sums, and of one that maps.
const SUMMED: usize = 1 << 15;
const MAPPED: usize = 1 << 14;

/// Columns `col .. col + width` of `rows` rows that begin at element `start`, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// Of the first row, its first column.
    pub start: usize,
    pub stride: usize,
    pub rows: usize,
    /// Where the columns are in a widened vector.
    pub col: usize,
    pub width: usize,
}

/// `[rows, c]` seen as `[wide_rows, n]` with `n` a multiple of `c`, so that narrow channels fill vectors, and a shorter row
/// of what is left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channels {
    pub c: usize,
    n: usize,
    wide_rows: usize,
    rest: usize,
}

impl Channels {
    /// `len` elements, `c` a row.
    pub fn new(what: &'static str, len: usize, c: usize) -> Result<Self, ShapeError> {
        if len > 0 {
            ShapeError::require(c > 0 && len.is_multiple_of(c), what, len, "a multiple of the channels")?;
        }
        let fills = |lanes: usize| (1..=lanes).map(|times| times * c).find(|n| n.is_multiple_of(lanes));
        let n = STRIPS.iter().filter_map(|&lanes| fills(lanes)).find(|&n| n <= WIDEST).unwrap_or(c);
        Ok(Self { c, n, wide_rows: len.checked_div(n).unwrap_or(0), rest: len.checked_rem(n).unwrap_or(0) })
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        (self.wide_rows * self.n + self.rest).checked_div(self.c).unwrap_or(0)
    }

    /// One number a channel, repeated to a wide row.
    pub fn widen(&self, values: &[f32]) -> Vec<f32> {
        let mut wide = Vec::with_capacity(self.n);
        (0..self.n.checked_div(self.c).unwrap_or(0)).for_each(|_| wide.extend_from_slice(values));
        wide
    }

    /// The shorter row at the end.
    fn last(&self) -> Block {
        Block { start: self.wide_rows * self.n, stride: self.n, rows: 1, col: 0, width: self.rest }
    }

    /// Runs `task` on blocks of whole rows that cover the matrix.
    pub fn map(&self, threads: &Threads, task: impl Fn(Block) + Sync) {
        let band = MAPPED.div_ceil(self.n.max(1));
        let parts = self.wide_rows.div_ceil(band);
        threads.run(parts + usize::from(self.rest > 0), |part| {
            if part == parts {
                return task(self.last());
            }
            let rows = band.min(self.wide_rows - part * band);
            task(Block { start: part * band * self.n, stride: self.n, rows, col: 0, width: self.n });
        });
    }

    /// `K` sums a channel, `[K, c]`. `task` gives those of the columns of its block, which are added in f64, block after
    /// block.
    pub fn sums<const K: usize>(
        &self,
        threads: &Threads,
        task: impl Fn(Block, &mut [[f32; COLUMNS]; K]) + Sync,
    ) -> Vec<f64> {
        let c = self.c;
        if c == 0 {
            return Vec::new();
        }
        // A row of several narrow ones is one strip, because its columns are added to the same sums.
        let strip = if self.n == c { c.min(COLUMNS / 4) } else { self.n };
        let strips = self.n.div_ceil(strip);
        let band = SUMMED.div_ceil(strip);
        let full = self.wide_rows.div_ceil(band);
        let parts = full + usize::from(self.rest > 0);
        let mut sums = vec![0.0f64; parts.max(1) * K * c];
        let to = Shareable(sums.as_mut_ptr());
        threads.run(parts * strips, |index| {
            let (part, col) = (index / strips, index % strips * strip);
            let block = if part == full {
                self.last()
            } else {
                let rows = band.min(self.wide_rows - part * band);
                let width = strip.min(self.n - col);
                Block { start: part * band * self.n + col, stride: self.n, rows, col, width }
            };
            let mut own = [[0.0f32; COLUMNS]; K];
            task(block, &mut own);
            for (k, own) in own.iter().enumerate() {
                let channels = strip.min(c - col);
                // SAFETY: channels of a part that no other task has.
                let sums = unsafe { std::slice::from_raw_parts_mut(to.at((part * K + k) * c + col), channels) };
                for own in own[..block.width].chunks(channels) {
                    for (sum, &own) in sums.iter_mut().zip(own) {
                        *sum += f64::from(own);
                    }
                }
            }
        });
        let (total, others) = sums.split_at_mut(K * c);
        for part in others.chunks_exact(K * c) {
            for (total, part) in total.iter_mut().zip(part) {
                *total += part;
            }
        }
        sums.truncate(K * c);
        sums
    }
}
