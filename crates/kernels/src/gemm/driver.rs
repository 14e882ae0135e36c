//! Splits a product into tasks and tiles. The order of the sums of one element is the same however it is split.

use super::Kernel;
use super::packed::{Panel, panel};
use super::tile::{Finish, K_BLOCK, LINE, ROW_STRIDE, Run, SLOTS, Tile};
use crate::activation::Activation;
use crate::threads::{Shareable, Threads};
use std::cell::RefCell;
use std::ops::Range;

/// Where the rows of A come from: a matrix, or the pixels of a convolution.
pub(crate) trait Rows: Sync {
    /// Floats of one run: columns that lie side by side. Divides K.
    fn run_len(&self) -> usize;

    /// Whether [`Self::locate`] copies what it finds, wholly or in part.
    fn is_copied(&self) -> bool {
        false
    }

    /// The most columns of one block.
    fn block_len(&self) -> usize {
        K_BLOCK
    }

    /// Writes where the rows of `tiles` have columns `ks` (whole runs, or a part of one) to `to`, tile after tile, an entry
    /// a run. What cannot be read where it is goes into `copies`, which has room for every row of a block.
    ///
    /// # Safety
    /// The rows and columns exist, tiles have at most [`SLOTS`] rows, and this CPU can run `kernel`.
    unsafe fn locate(&self, kernel: &Kernel, tiles: &Tiles, ks: Range<usize>, to: &mut [Run], copies: &mut Copies<'_>);
}

/// Some of the tiles that `m` rows are divided into, all nearly equal.
pub(crate) struct Tiles {
    /// Rows of a line, which no tile crosses; all of them where there are no lines.
    line: usize,
    tiles_a_line: usize,
    pub range: Range<usize>,
}

impl Tiles {
    /// The rows of one tile.
    pub fn rows(&self, tile: usize) -> Range<usize> {
        let (line, tile) = (tile / self.tiles_a_line, tile % self.tiles_a_line);
        let rows = part(tile, self.tiles_a_line, self.line);
        line * self.line + rows.start..line * self.line + rows.end
    }
}

/// Room for the parts of A that cannot be read where they are.
pub(crate) struct Copies<'a> {
    room: &'a mut [f32],
}

impl<'a> Copies<'a> {
    /// The next `len` floats.
    pub fn take(&mut self, len: usize) -> &'a mut [f32] {
        let (taken, rest) = std::mem::take(&mut self.room).split_at_mut(len);
        self.room = rest;
        taken
    }
}

/// Rows of C in lines that lie apart, as the pixels of every other line and column of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    /// Rows of a line; divides those of C.
    pub rows: usize,
    /// Floats from one line to the next.
    pub stride: usize,
    /// Lines of an image.
    pub an_image: usize,
    /// Floats from one image to the next.
    pub image_stride: usize,
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
    /// Where rows are not all `c_stride` apart.
    pub lines: Option<Lines>,
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
/// Rows that fit in one tile and in cache, however far apart they are.
const FEW_ROWS: usize = 6;
/// Bytes of B that do not stay in L2 beside A.
const LARGE: usize = 1 << 20;
/// Multiply-adds worth a task of their own, a few microseconds.
const TASK_WORK: usize = 1 << 18;

/// What a thread needs for a block of A.
#[derive(Default)]
struct Block {
    runs: Vec<Run>,
    copies: Vec<f32>,
}

thread_local! {
    static BLOCK: RefCell<Block> = RefCell::default();
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
    /// Tiles that the rows are divided into.
    pub tiles: usize,
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
    let (tiles, panels) = (sizes.tiles, sizes.n.div_ceil(panel));
    let by_size = tiles.div_ceil(MAX_ROWS / tile_rows);
    // A multiple of the threads, or one of them has more to do.
    let wanted = match sizes.work / TASK_WORK {
        wanted @ 2.. if n_threads > 1 => wanted.next_multiple_of(n_threads).min(4 * n_threads),
        _ => 1,
    };
    let even = |parts: usize| if parts > n_threads { parts - parts % n_threads } else { parts };
    let waste = |units: usize| (units.next_multiple_of(n_threads) - units) as f64 / units as f64;
    let is_by_columns = sizes.b_bytes > if sizes.is_in_place { sizes.a_bytes } else { LARGE };
    let is_better_by_columns = sizes.is_in_place && wanted > 1 && panels > 0 && waste(panels) < waste(tiles);
    let (row_parts, panel_parts) = if is_by_columns || tiles < n_threads || is_better_by_columns {
        // Where each part packs the same rows again, there are fewer.
        let most = if sizes.is_in_place { 4 * n_threads } else { 2 * n_threads };
        (by_size, even(panels.min(wanted).min(most)))
    } else {
        let row_parts = by_size.max(even(wanted.min(tiles)));
        (row_parts, (wanted / row_parts).clamp(1, panels.max(1)))
    };
    Cut { tiles, row_parts, panels, panel_parts }
}

/// The `index`-th of `parts` nearly equal parts of `0..len`.
pub(crate) fn part(index: usize, parts: usize, len: usize) -> Range<usize> {
    index * len / parts..(index + 1) * len / parts
}

impl<'a> Product<'a, ()> {
    /// The product of these rows.
    pub fn with_rows<R>(self, rows: &'a R) -> Product<'a, R> {
        let Self { kernel, m, k, n, b, c, c_stride, lines, bias, residual, activation, .. } = self;
        Product { kernel, m, k, n, rows, b, c, c_stride, lines, bias, residual, activation }
    }
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
        let is_narrow = n * 2 <= self.kernel.panel;
        let tile_rows = if is_narrow { self.kernel.narrow_rows } else { self.kernel.tile_rows };
        let tile = [tile_rows, self.kernel.panel];
        let work = m.saturating_mul(n).saturating_mul(self.k.max(16));
        let is_in_place = !self.rows.is_copied();
        let (a_bytes, b_bytes) = (m * self.k * 4, self.b.len() * 4);
        let line = self.lines.map_or(m, |lines| lines.rows);
        let tiles = m / line * line.div_ceil(tile_rows);
        let cut = cut(&Sizes { tiles, n, tile, work, a_bytes, b_bytes, is_in_place }, threads.count());
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
        let line = self.lines.map_or(self.m, |lines| lines.rows);
        let tiles = &Tiles { line, tiles_a_line: cut.tiles / (self.m / line), range: tiles };
        // The larger side comes from further away, so that one is fetched ahead.
        let is_large = self.b.len() > self.m * self.k;
        BLOCK.with_borrow_mut(|block| {
            let mut start = 0;
            while start < self.k.max(1) {
                let ks = start..self.block_end(start);
                start = ks.end.max(1);
                let n_runs = self.locate(tiles, ks.clone(), block);
                for panel_index in panels.clone() {
                    let panel = panel(panel_index, self.kernel.panel, self.k, self.n);
                    for (index, tile) in tiles.range.clone().enumerate() {
                        let runs = &block.runs[index * n_runs..][..n_runs];
                        let next = if is_large {
                            // The first tiles fetch the same rows of the next panel, a line a step each.
                            let fetched = index * ks.len() * LINE;
                            let is_due = fetched < ks.len() * panel.width && panel_index + 1 < panels.end;
                            let ahead = panel.width * self.k + ks.start * panel.width + fetched;
                            self.b.as_ptr().wrapping_add(panel.offset + if is_due { ahead } else { 0 })
                        } else {
                            block.runs.get((index + 1) * n_runs).map_or(runs[0][0], |run| run[0])
                        };
                        // SAFETY: the runs hold these rows, the rest is the caller's.
                        unsafe { self.run_tile(runs, next, tiles.rows(tile), &panel, ks.clone()) };
                    }
                }
            }
        });
        if self.activation.is_curve() {
            let start = panels.start * self.kernel.panel;
            let end = self.n.min(panels.end * self.kernel.panel);
            for row in tiles.range.clone().flat_map(|tile| tiles.rows(tile)) {
                // SAFETY: this part of C is ours.
                let c = unsafe { std::slice::from_raw_parts_mut(self.c.at(self.place(row) + start), end - start) };
                self.activation.apply(c);
            }
        }
    }

    /// Where a row of C begins.
    fn place(&self, row: usize) -> usize {
        let Some(lines) = &self.lines else { return row * self.c_stride };
        let (line, row) = (row / lines.rows, row % lines.rows);
        line / lines.an_image * lines.image_stride + line % lines.an_image * lines.stride + row * self.c_stride
    }

    /// Where the block of K that begins at `start` ends: whole runs, or parts of one, of about the same depth.
    fn block_end(&self, start: usize) -> usize {
        let is_whole = self.kernel.c_bytes < 4;
        let block_len = if is_whole { usize::MAX } else { self.rows.block_len() };
        let run_len = self.rows.run_len();
        if run_len > block_len {
            let in_run = start % run_len;
            let n_blocks = run_len.div_ceil(block_len);
            let index = in_run * n_blocks / run_len;
            let index = index + usize::from(part(index, n_blocks, run_len).end <= in_run);
            return start - in_run + part(index, n_blocks, run_len).end;
        }
        if self.k == 0 {
            return 0;
        }
        let (n_runs, at) = (self.k / run_len, start / run_len);
        let n_blocks = n_runs.div_ceil(block_len / run_len);
        let index = (0..n_blocks).find(|&index| part(index, n_blocks, n_runs).end > at).unwrap_or(n_blocks);
        part(index, n_blocks, n_runs).end * run_len
    }

    /// Fills `block` with the runs of columns `ks` of `tiles`; returns how many a tile has.
    fn locate(&self, tiles: &Tiles, ks: Range<usize>, block: &mut Block) -> usize {
        let n_runs = ks.len().div_ceil(self.rows.run_len().max(1)).max(1);
        block.runs.resize(n_runs * tiles.range.len(), [std::ptr::null(); SLOTS]);
        if self.rows.is_copied() {
            let len = tiles.range.clone().map(|tile| tiles.rows(tile).len()).sum::<usize>() * ROW_STRIDE;
            if block.copies.len() < len {
                block.copies.resize(len, 0.0);
            }
        }
        let mut copies = Copies { room: &mut block.copies };
        // SAFETY: these are rows and columns of A, and the kernel is supported: the contract of `run`.
        unsafe { self.rows.locate(self.kernel, tiles, ks, &mut block.runs, &mut copies) };
        n_runs
    }

    /// # Safety
    /// As [`Self::run_part`]; `runs` hold the rows of this tile for `ks`; `next` is only fetched.
    unsafe fn run_tile(&self, runs: &[Run], next: *const f32, rows: Range<usize>, panel: &Panel, ks: Range<usize>) {
        let at = self.place(rows.start) + panel.col;
        let finish = (ks.end == self.k).then(|| {
            let (min, max) = self.activation.clamp();
            let bias = if self.bias.is_null() { self.bias } else { self.bias.wrapping_add(panel.col) };
            let residual = self.kernel.element(self.residual.cast_mut(), if self.residual.is_null() { 0 } else { at });
            Finish { bias, residual: residual.cast_const(), min, max }
        });
        // SAFETY: the caller's.
        unsafe {
            let tile = Tile {
                runs: runs.as_ptr(),
                n_runs: runs.len(),
                run_len: ks.len() / runs.len(),
                b: self.b.as_ptr().add(panel.offset + ks.start * panel.width),
                next,
                c: self.kernel.element(self.c.at(0), at),
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
    pub m: usize,
    pub k: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl Rows for MatrixRows<'_> {
    fn run_len(&self) -> usize {
        self.k
    }

    fn is_copied(&self) -> bool {
        // Many rows a multiple of 4 KiB apart fall on the same cache sets and push each other out.
        self.col_stride != 1 || self.m > FEW_ROWS && (self.row_stride * 4).is_multiple_of(4096)
    }

    fn block_len(&self) -> usize {
        // B is read once for a few rows, so it goes by in the order it lies in.
        if self.m <= FEW_ROWS && !self.is_copied() { usize::MAX } else { K_BLOCK }
    }

    unsafe fn locate(&self, kernel: &Kernel, tiles: &Tiles, ks: Range<usize>, to: &mut [Run], copies: &mut Copies<'_>) {
        let is_copied = self.is_copied() && !ks.is_empty();
        if is_copied && self.row_stride == 1 && !tiles.range.is_empty() {
            let rows = tiles.rows(tiles.range.start).start..tiles.rows(tiles.range.end - 1).end;
            let copy = copies.take(rows.len() * ROW_STRIDE).as_mut_ptr();
            let from = &self.a[ks.start * self.col_stride + rows.start..];
            // SAFETY: rows and columns exist (the caller's), and there is room for as many.
            unsafe { (kernel.transpose)(from.as_ptr(), self.col_stride, [ks.len(), rows.len()], copy, ROW_STRIDE) };
            for (tile, run) in tiles.range.clone().zip(to) {
                for (slot, row) in run.iter_mut().zip(tiles.rows(tile)) {
                    *slot = copy.wrapping_add((row - rows.start) * ROW_STRIDE);
                }
            }
            return;
        }
        for (tile, run) in tiles.range.clone().zip(to) {
            for (slot, row) in run.iter_mut().zip(tiles.rows(tile)) {
                let at = row * self.row_stride + ks.start * self.col_stride;
                if !is_copied {
                    *slot = self.a.as_ptr().wrapping_add(at);
                    continue;
                }
                let (copy, from) = (&mut copies.take(ROW_STRIDE)[..ks.len()], &self.a[at..]);
                if self.col_stride == 1 {
                    copy.copy_from_slice(&from[..ks.len()]);
                } else {
                    for (to, from) in copy.iter_mut().zip(from.iter().step_by(self.col_stride)) {
                        *to = *from;
                    }
                }
                *slot = copy.as_ptr();
            }
        }
    }
}
