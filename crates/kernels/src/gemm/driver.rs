//! Splits a product into tasks and tiles. The order of the sums of one element is the same however it is split.

use super::packed::{Panel, panel};
use super::tile::{Finish, K_BLOCK, ROW_STRIDE, Tile};
use super::Kernel;
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

/// Rows of A packed at once: 14 tiles of 13, 200 KB of L2.
const MAX_ROWS: usize = 182;
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

/// Cuts along the longer side, so that the threads share as little as possible.
pub(crate) fn cut(m: usize, k: usize, n: usize, tile_rows: usize, panel: usize, n_threads: usize) -> Cut {
    let (tiles, panels) = (m.div_ceil(tile_rows), n.div_ceil(panel));
    let by_size = tiles.div_ceil(MAX_ROWS / tile_rows);
    let work = m.saturating_mul(n).saturating_mul(k.max(16));
    let wanted = if n_threads == 1 { 1 } else { (work / TASK_WORK).clamp(1, 4 * n_threads) };
    let (row_parts, panel_parts) = if n > m {
        let panel_parts = panels.min(wanted);
        (by_size.max((wanted / panel_parts).min(tiles)), panel_parts)
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
        let cut = cut(self.m, self.k, self.n, self.kernel.tile_rows, self.kernel.panel, threads.count());
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
            let needed = rows.len() * ROW_STRIDE;
            if block.len() < needed {
                block.resize(needed, 0.0);
            }
            for k_start in (0..self.k.max(1)).step_by(K_BLOCK) {
                let ks = k_start..self.k.min(k_start + K_BLOCK);
                // SAFETY: the block has room for these rows, resized above.
                unsafe { self.rows.pack(rows.clone(), ks.clone(), block.as_mut_ptr()) };
                for index in panels.clone() {
                    let panel = panel(index, self.kernel.panel, self.k, self.n);
                    for tile in tiles.clone() {
                        let tile_rows = first_row(tile)..first_row(tile + 1);
                        let a = block[(tile_rows.start - rows.start) * ROW_STRIDE..].as_ptr();
                        // SAFETY: `a` holds these rows, the rest is the caller's.
                        unsafe { self.run_tile(a, tile_rows, &panel, ks.clone()) };
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
    /// As [`Self::run_part`]; `a` holds the packed rows of this tile for `ks`.
    unsafe fn run_tile(&self, a: *const f32, rows: Range<usize>, panel: &Panel, ks: Range<usize>) {
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
                b: self.b.as_ptr().add(panel.offset + ks.start * panel.width),
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
