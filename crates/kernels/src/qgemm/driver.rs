//! Splits an integer product into tasks and tiles.

use super::PackedQB;
use super::finish::Finish;
use super::tile::{K_BLOCK, ROW_STRIDE, Tile};
use crate::activation::Activation;
use crate::gemm::driver::{Sizes, cut, part};
use crate::gemm::packed::{Panel, panel};
use crate::threads::Threads;
use std::cell::RefCell;
use std::ops::Range;

/// Where the rows of A come from, as raw bytes.
pub(crate) trait ByteRows: Sync {
    /// Writes columns `ks` of the given rows to `to`, row after row, [`ROW_STRIDE`] apart.
    ///
    /// # Safety
    /// `to` has room for `rows.len() * ROW_STRIDE` bytes, and `ks` is at most `K_BLOCK` long.
    unsafe fn pack(&self, rows: Range<usize>, ks: Range<usize>, to: *mut u8);
}

/// One product: `m × k · k × n`, sums finished into the output that `finish` points to.
pub(crate) struct Product<'a, R> {
    pub m: usize,
    pub b: &'a PackedQB,
    pub rows: &'a R,
    /// Makes the raw bytes unsigned.
    pub flip: u8,
    pub finish: Finish,
    /// Applied to f32 output after the clamp.
    pub activation: Activation,
}

/// Bytes of A packed at once; with a panel of B they stay in L2.
const MAX_BLOCK: usize = 256 << 10;

#[derive(Default)]
struct Scratch {
    block: Vec<u8>,
    row_sums: Vec<i32>,
    sums: Vec<i32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<R: ByteRows> Product<'_, R> {
    /// # Safety
    /// `finish` is valid for `m` rows of `b.n` columns that nobody else uses.
    pub unsafe fn run(&self, threads: &Threads) {
        let (k, n, kernel) = (self.b.k, self.b.n, self.b.kernel);
        if self.m == 0 || n == 0 {
            return;
        }
        let tile = [kernel.tile_rows, kernel.panel];
        let work = self.m.saturating_mul(n).saturating_mul((k / 4).max(16));
        let sizes =
            Sizes { m: self.m, n, tile, work, a_bytes: self.m * k, b_bytes: self.b.data.len(), is_in_place: false };
        let mut cut = cut(&sizes, threads.count());
        // All of K is packed at once, so deep products take fewer rows at a time.
        let row_bytes = k.div_ceil(K_BLOCK).max(1) * ROW_STRIDE;
        let max_tiles = (MAX_BLOCK / row_bytes / kernel.tile_rows).max(1);
        cut.row_parts = cut.row_parts.max(cut.tiles.div_ceil(max_tiles));
        threads.run(cut.row_parts * cut.panel_parts, |task| {
            let tiles = part(task / cut.panel_parts, cut.row_parts, cut.tiles);
            let panels = part(task % cut.panel_parts, cut.panel_parts, cut.panels);
            if !tiles.is_empty() && !panels.is_empty() {
                // SAFETY: the caller's; tasks are disjoint in tiles or panels.
                SCRATCH.with_borrow_mut(|scratch| unsafe { self.run_part(cut.tiles, tiles, panels, scratch) });
            }
        });
    }

    /// # Safety
    /// As [`Self::run`], and no other call works on these tiles of these panels.
    unsafe fn run_part(&self, n_tiles: usize, tiles: Range<usize>, panels: Range<usize>, scratch: &mut Scratch) {
        let (b, kernel) = (self.b, self.b.kernel);
        let first_row = |tile: usize| tile * self.m / n_tiles;
        let rows = first_row(tiles.start)..first_row(tiles.end);
        let block_len = rows.len() * ROW_STRIDE;
        self.pack(&rows, scratch);
        scratch.sums.resize(scratch.sums.len().max(kernel.tile_rows * kernel.panel), 0);
        for index in panels {
            let panel = panel(index, kernel.panel, b.k.next_multiple_of(4), b.n);
            for tile in tiles.clone() {
                let tile_rows = first_row(tile)..first_row(tile + 1);
                let (first, count) = (tile_rows.start - rows.start, tile_rows.len());
                // SAFETY: the block holds these rows.
                unsafe {
                    self.sum_tile(&scratch.block[first * ROW_STRIDE..], block_len, count, &panel, &mut scratch.sums)
                };
                if b.needs_row_sums {
                    let zero_points = &b.zero_points[panel.col..][..panel.n_cols];
                    for (row, sums) in scratch.sums.chunks_exact_mut(panel.width).take(count).enumerate() {
                        let row_sum = scratch.row_sums[first + row];
                        for (sum, &zero) in sums.iter_mut().zip(zero_points) {
                            *sum = sum.wrapping_sub(zero.wrapping_mul(row_sum));
                        }
                    }
                }
                let finish = self.finish.at(tile_rows.start, panel.col);
                // SAFETY: the caller's.
                unsafe {
                    (kernel.finish)(&finish, scratch.sums.as_ptr(), panel.width, count, panel.n_cols);
                    finish.apply_curve(self.activation, count, panel.n_cols);
                }
            }
        }
    }

    /// Packs all of K of the given rows, block after block, and sums them if that is needed.
    fn pack(&self, rows: &Range<usize>, scratch: &mut Scratch) {
        let k = self.b.k;
        let block_len = rows.len() * ROW_STRIDE;
        let blocks = k.div_ceil(K_BLOCK).max(1);
        scratch.block.resize(scratch.block.len().max(blocks * block_len), 0);
        for index in 0..blocks {
            let ks = index * K_BLOCK..k.min((index + 1) * K_BLOCK);
            let block = &mut scratch.block[index * block_len..(index + 1) * block_len];
            // SAFETY: the block has room for these rows.
            unsafe { self.rows.pack(rows.clone(), ks.clone(), block.as_mut_ptr()) };
            if self.flip != 0 {
                for row in block.chunks_exact_mut(ROW_STRIDE) {
                    row[..ks.len()].iter_mut().for_each(|byte| *byte ^= self.flip);
                }
            }
        }
        if self.b.needs_row_sums {
            scratch.row_sums.clear();
            scratch.row_sums.extend((0..rows.len()).map(|row| row_sum(&scratch.block, row, block_len, k)));
        }
    }

    /// Sums of the first `count` rows of `a`, blocks of K `block_len` apart, into `sums`, a whole panel wide.
    ///
    /// # Safety
    /// `a` holds these rows, and `sums` has room for them.
    unsafe fn sum_tile(&self, a: &[u8], block_len: usize, count: usize, panel: &Panel, sums: &mut [i32]) {
        let b = self.b;
        for index in 0..b.k.div_ceil(K_BLOCK).max(1) {
            let k_start = index * K_BLOCK;
            let tile = Tile {
                a: a.as_ptr().wrapping_add(index * block_len),
                b: b.data.as_ptr().wrapping_add(panel.offset + k_start * panel.width),
                groups: (b.k - k_start).min(K_BLOCK).div_ceil(4),
                sums: sums.as_mut_ptr(),
                sums_stride: panel.width,
                accumulate: index > 0,
            };
            // SAFETY: the caller's; the panel holds this part of K.
            unsafe { (b.kernel.run)(count, panel.width, &tile) };
        }
    }
}

/// Sum of the unsigned bytes of one packed row.
fn row_sum(block: &[u8], row: usize, block_len: usize, k: usize) -> i32 {
    let parts = block.chunks_exact(block_len).enumerate().take(k.div_ceil(K_BLOCK));
    parts
        .map(|(index, part)| {
            let len = (k - index * K_BLOCK).min(K_BLOCK);
            part[row * ROW_STRIDE..][..len].iter().map(|&x| i32::from(x)).sum::<i32>()
        })
        .fold(0, i32::wrapping_add)
}

/// Rows of a matrix of bytes, `stride` apart.
pub(crate) struct MatrixBytes<'a> {
    pub a: &'a [u8],
    pub stride: usize,
}

impl ByteRows for MatrixBytes<'_> {
    unsafe fn pack(&self, rows: Range<usize>, ks: Range<usize>, to: *mut u8) {
        for (index, row) in rows.enumerate() {
            // SAFETY: the caller's.
            let to = unsafe { std::slice::from_raw_parts_mut(to.add(index * ROW_STRIDE), ks.len()) };
            to.copy_from_slice(&self.a[row * self.stride + ks.start..][..ks.len()]);
        }
    }
}
