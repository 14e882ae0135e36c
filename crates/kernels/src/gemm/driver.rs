//! Splits a product into tasks and tiles. The order of the sums of one element is the same however it is split.

use super::Kernel;
use super::packed::{Panel, panel};
use super::tile::{Finish, K_BLOCK, LINE, ROW_STRIDE, Tile};
use crate::activation::Activation;
use crate::threads::{Shareable, Threads};
use std::cell::RefCell;
use std::ops::Range;

/// Where the rows of A come from: a matrix, or the pixels of a convolution.
pub(crate) trait Rows: Sync {
    /// Writes columns `ks` of the given rows to `to`, row after row, [`ROW_STRIDE`] apart.
    ///
    /// # Safety
    /// `to` has room for `rows.len() * ROW_STRIDE` floats, and `ks` is at most `K_BLOCK` long.
    unsafe fn pack(&self, rows: Range<usize>, ks: Range<usize>, to: *mut f32);

    /// Where row 0 begins and how far apart rows are, if they can be read where they are.
    fn in_place(&self) -> Option<(*const f32, usize)> {
        None
    }
}

/// One product: `m × k · k × n`, B packed, C and the residual with rows `c_stride` apart.
pub(crate) struct Product<'a, R> {
    pub kernel: &'static Kernel,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub rows: &'a R,
    pub b: &'a [f32],
    pub c: Shareable<f32>,
    pub c_stride: usize,
    /// `n` floats or null.
    pub bias: *const f32,
    /// Laid out as C, or null.
    pub residual: *const f32,
    pub activation: Activation,
}

// SAFETY: the raw pointers are read only (`bias`, `residual`) or written in disjoint tiles (`c`).
unsafe impl<R: Sync> Sync for Product<'_, R> {}

/// Rows of A packed at once: 16 tiles of 13, 220 KB of L2.
const MAX_ROWS: usize = 208;
/// Bytes of B that do not stay in L2 beside A.
const LARGE: usize = 1 << 20;
/// Multiply-adds worth a task of their own, a few microseconds.
const TASK_WORK: usize = 1 << 18;

thread_local! {
    static BLOCK: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// How a product is cut: `row_parts × panel_parts` tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub tiles: usize,
    pub row_parts: usize,
    pub panels: usize,
    pub panel_parts: usize,
}

/// What a cut depends on, beside the number of threads.
pub(crate) struct Sizes {
    pub m: usize,
    pub n: usize,
    /// `[rows, columns]` of a tile.
    pub tile: [usize; 2],
    /// Multiply-adds, or what takes as long.
    pub work: usize,
    pub a_bytes: usize,
    pub b_bytes: usize,
    /// Rows of A are read where they are, so reading them again costs no packing.
    pub is_in_place: bool,
}

/// Cuts along columns if reading all of B for every part of the rows costs more than the rows again, else along rows.
pub(crate) fn cut(sizes: &Sizes, n_threads: usize) -> Cut {
    let [tile_rows, panel] = sizes.tile;
    let (tiles, panels) = (sizes.m.div_ceil(tile_rows), sizes.n.div_ceil(panel));
    let by_size = tiles.div_ceil(MAX_ROWS / tile_rows);
    let wanted = if n_threads == 1 { 1 } else { (sizes.work / TASK_WORK).clamp(1, 4 * n_threads) };
    let is_by_columns = sizes.b_bytes > if sizes.is_in_place { sizes.a_bytes } else { LARGE };
    let (row_parts, panel_parts) = if is_by_columns || tiles < n_threads {
        // Where each part packs the same rows again, there are fewer.
        let most = if sizes.is_in_place { 4 * n_threads } else { 2 * n_threads };
        (by_size, panels.min(wanted).min(most))
    } else {
        let row_parts = by_size.max(wanted.min(tiles));
        (row_parts, (wanted / row_parts).clamp(1, panels.max(1)))
    };
    Cut { tiles, row_parts, panels, panel_parts }
}

/// The `index`-th of `parts` nearly equal parts of `0..len`.
pub(crate) fn part(index: usize, parts: usize, len: usize) -> Range<usize> {
    index * len / parts..(index + 1) * len / parts
}

impl<R: Rows> Product<'_, R> {
    /// Runs the product on `threads`.
    ///
    /// # Safety
    /// `c` has `m` rows of `n` floats that nobody else uses; `bias`, `residual` and `b` are as the fields say; this CPU
    /// can run `kernel`.
    pub unsafe fn run(&self, threads: &Threads) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        let (m, n) = (self.m, self.n);
        let tile = [self.kernel.tile_rows, self.kernel.panel];
        let work = m.saturating_mul(n).saturating_mul(self.k.max(16));
        let is_in_place = self.rows.in_place().is_some();
        let (a_bytes, b_bytes) = (m * self.k * 4, self.b.len() * 4);
        let cut = cut(&Sizes { m, n, tile, work, a_bytes, b_bytes, is_in_place }, threads.count());
        threads.run(cut.row_parts * cut.panel_parts, |task| {
            let tiles = part(task / cut.panel_parts, cut.row_parts, cut.tiles);
            let panels = part(task % cut.panel_parts, cut.panel_parts, cut.panels);
            if !tiles.is_empty() && !panels.is_empty() {
                // SAFETY: the caller's; tasks are disjoint in tiles or panels.
                unsafe { self.run_part(&cut, tiles, panels) }
            }
        });
    }

    /// # Safety
    /// As [`Self::run`], and no other call works on these tiles of these panels.
    unsafe fn run_part(&self, cut: &Cut, tiles: Range<usize>, panels: Range<usize>) {
        let first_row = |tile: usize| tile * self.m / cut.tiles;
        let rows = first_row(tiles.start)..first_row(tiles.end);
        BLOCK.with_borrow_mut(|block| {
            let in_place = self.rows.in_place();
            // The larger side comes from further away, so that one is fetched ahead.
            let is_large = self.b.len() > self.m * self.k;
            if in_place.is_none() && block.len() < rows.len() * ROW_STRIDE {
                block.resize(rows.len() * ROW_STRIDE, 0.0);
            }
            for k_start in (0..self.k.max(1)).step_by(K_BLOCK) {
                let ks = k_start..self.k.min(k_start + K_BLOCK);
                let (a, a_stride) = match in_place {
                    Some((a, stride)) => (a.wrapping_add(rows.start * stride + k_start), stride),
                    None => {
                        // SAFETY: the block has room for these rows, resized above.
                        unsafe { self.rows.pack(rows.clone(), ks.clone(), block.as_mut_ptr()) };
                        (block.as_ptr(), ROW_STRIDE)
                    }
                };
                for index in panels.clone() {
                    let panel = panel(index, self.kernel.panel, self.k, self.n);
                    for tile in tiles.clone() {
                        let tile_rows = first_row(tile)..first_row(tile + 1);
                        let a = a.wrapping_add((tile_rows.start - rows.start) * a_stride);
                        let next = if is_large {
                            // The first tiles fetch the same rows of the next panel, a line a step each.
                            let fetched = (tile - tiles.start) * ks.len() * LINE;
                            let is_due = fetched < ks.len() * panel.width && index + 1 < panels.end;
                            let ahead = panel.width * self.k + ks.start * panel.width + fetched;
                            self.b.as_ptr().wrapping_add(panel.offset + if is_due { ahead } else { 0 })
                        } else {
                            a.wrapping_add(tile_rows.len() * a_stride)
                        };
                        // SAFETY: `a` holds these rows, the rest is the caller's.
                        unsafe { self.run_tile([a, next], a_stride, tile_rows, &panel, ks.clone()) };
                    }
                }
            }
        });
        if self.activation.is_curve() {
            let start = panels.start * self.kernel.panel;
            let end = self.n.min(panels.end * self.kernel.panel);
            for row in rows {
                // SAFETY: this part of C is ours.
                let c = unsafe { std::slice::from_raw_parts_mut(self.c.at(row * self.c_stride + start), end - start) };
                self.activation.apply(c);
            }
        }
    }

    /// # Safety
    /// As [`Self::run_part`]; `a` holds the rows of this tile for `ks`, `a_stride` apart; `next` is only fetched.
    unsafe fn run_tile(
        &self,
        [a, next]: [*const f32; 2],
        a_stride: usize,
        rows: Range<usize>,
        panel: &Panel,
        ks: Range<usize>,
    ) {
        let at = rows.start * self.c_stride + panel.col;
        let finish = (ks.end == self.k).then(|| {
            let (min, max) = self.activation.clamp();
            let bias = if self.bias.is_null() { self.bias } else { self.bias.wrapping_add(panel.col) };
            let residual = if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(at) };
            Finish { bias, residual, min, max }
        });
        // SAFETY: the caller's.
        unsafe {
            let tile = Tile {
                a,
                a_stride,
                b: self.b.as_ptr().add(panel.offset + ks.start * panel.width),
                next,
                k: ks.len(),
                c: self.c.at(at),
                c_stride: self.c_stride,
                n_cols: panel.n_cols,
                accumulate: ks.start > 0,
                finish,
            };
            (self.kernel.run)(rows.len(), panel.width, &tile);
        }
    }
}

/// Rows of a matrix.
pub(crate) struct MatrixRows<'a> {
    pub a: &'a [f32],
    pub row_stride: usize,
    pub col_stride: usize,
}

impl Rows for MatrixRows<'_> {
    fn in_place(&self) -> Option<(*const f32, usize)> {
        // Rows a multiple of 4 KiB apart fall on the same cache sets and push each other out.
        let is_crowded = (self.row_stride * 4).is_multiple_of(4096);
        (self.col_stride == 1 && !is_crowded).then_some((self.a.as_ptr(), self.row_stride))
    }

    #[inline]
    unsafe fn pack(&self, rows: Range<usize>, ks: Range<usize>, to: *mut f32) {
        for (index, row) in rows.enumerate() {
            // SAFETY: the caller's.
            let to = unsafe { std::slice::from_raw_parts_mut(to.add(index * ROW_STRIDE), ks.len()) };
            if ks.is_empty() {
                continue;
            }
            let from = &self.a[row * self.row_stride + ks.start * self.col_stride..];
            if self.col_stride == 1 {
                to.copy_from_slice(&from[..ks.len()]);
            } else {
                for (to, from) in to.iter_mut().zip(from.iter().step_by(self.col_stride)) {
                    *to = *from;
                }
            }
        }
    }
}
