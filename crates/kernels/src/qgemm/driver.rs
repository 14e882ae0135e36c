//! Splits an integer product into tasks and tiles.

use super::finish::Finish;
use super::packed::{PackedQB, Panel};
use super::tile::Band;
use crate::activation::Activation;
use crate::gemm::driver::part;
use crate::threads::Threads;
use std::cell::RefCell;
use std::ops::Range;

/// Where the rows of A lie, as raw bytes: each is some runs of bytes, the same distances apart for all rows.
pub(crate) trait ByteRows: Sync {
    /// Bytes that a row adds to what a task reads.
    fn row_bytes(&self) -> usize;

    /// Distances of the runs from the beginning of a row.
    fn runs(&self) -> impl Iterator<Item = usize>;

    /// Appends where the given rows begin. What cannot be read where it is goes to `copy`, which starts empty; the
    /// pointers are valid, with every run rounded up to four bytes, until it changes.
    fn locate(&self, rows: Range<usize>, copy: &mut Vec<u8>, pointers: &mut Vec<*const u8>);
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

/// Bytes of A that stay in L2 beside a panel of B.
const A_BLOCK: usize = 256 << 10;
/// Bytes of B that stay in L2 while rows go by.
const B_IN_L2: usize = 512 << 10;
/// Bytes of B that stay in L1 beside a tile of A.
const B_IN_L1: usize = 24 << 10;
/// Rows that go through all panels together where B is in L1.
const BAND_ROWS: usize = 48;
/// Steps of four products worth a task of their own, a few microseconds.
const TASK_WORK: usize = 1 << 18;

#[derive(Default)]
struct Scratch {
    copy: Vec<u8>,
    pointers: Vec<*const u8>,
    row_sums: Vec<i32>,
    sums: Vec<i32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// How a product is cut: `row_parts × panel_parts` tasks.
struct Cut {
    tiles: usize,
    row_parts: usize,
    panels: usize,
    panel_parts: usize,
}

impl<R: ByteRows> Product<'_, R> {
    /// Cuts along columns if B is the larger side and does not stay in L2, because each part of the rows reads all of it.
    fn cut(&self, n_threads: usize) -> Cut {
        let (b, kernel) = (self.b, self.b.kernel);
        let (tiles, panels) = (self.m.div_ceil(kernel.rows_for(b.n)), b.n.div_ceil(kernel.panel));
        // With few rows, reading B takes longer than multiplying by it.
        let work = self.m.saturating_mul(b.n).saturating_mul((b.k / 4).max(16)).max(b.data.len());
        let wanted = if n_threads == 1 { 1 } else { (work / TASK_WORK).clamp(1, 4 * n_threads) };
        let a_bytes = self.a_bytes();
        let by_size = a_bytes.div_ceil(A_BLOCK).clamp(1, tiles);
        let is_by_columns = b.data.len() > a_bytes.max(B_IN_L2) && panels >= n_threads;
        let (row_parts, panel_parts) = if is_by_columns {
            (by_size, wanted.min(panels))
        } else {
            let row_parts = by_size.max(wanted).min(tiles);
            (row_parts, (wanted / row_parts).clamp(1, panels))
        };
        Cut { tiles, row_parts, panels, panel_parts }
    }

    fn a_bytes(&self) -> usize {
        self.m.saturating_mul(self.rows.row_bytes())
    }

    /// # Safety
    /// `finish` is valid for `m` rows of `b.n` columns that nobody else uses.
    pub unsafe fn run(&self, threads: &Threads) {
        if self.m == 0 || self.b.n == 0 {
            return;
        }
        let cut = self.cut(threads.count());
        let groups = self.b.segment.div_ceil(4);
        let offsets: Vec<usize> = self.rows.runs().flat_map(|run| (0..groups).map(move |i| run + i * 4)).collect();
        debug_assert!(offsets.len() == self.b.n_groups(), "the runs are those that B was packed for");
        threads.run(cut.row_parts * cut.panel_parts, |task| {
            let tiles = part(task / cut.panel_parts, cut.row_parts, cut.tiles);
            let panels = part(task % cut.panel_parts, cut.panel_parts, cut.panels);
            let first_row = |tile: usize| tile * self.m / cut.tiles;
            let rows = first_row(tiles.start)..first_row(tiles.end);
            if !rows.is_empty() && !panels.is_empty() {
                // SAFETY: the caller's; tasks are disjoint in rows or panels.
                SCRATCH.with_borrow_mut(|scratch| unsafe { self.run_part(rows, panels, &offsets, scratch) });
            }
        });
    }

    /// # Safety
    /// As [`Self::run`], and no other call works on these rows of these panels.
    unsafe fn run_part(&self, rows: Range<usize>, panels: Range<usize>, offsets: &[usize], scratch: &mut Scratch) {
        let (b, kernel) = (self.b, self.b.kernel);
        self.locate(&rows, scratch);
        let run = |index, band: &Range<usize>, scratch: &mut Scratch| {
            // SAFETY: the caller's.
            unsafe { self.run_band(&b.panel(index), band, rows.start, offsets, scratch) };
        };
        let tile_rows = kernel.rows_for(b.n);
        scratch.sums.resize(scratch.sums.len().max(tile_rows * kernel.panel), 0);
        let b_bytes = b.data.len() / b.n.div_ceil(kernel.panel) * panels.len();
        let step = if !self.is_fused() {
            tile_rows
        } else if b_bytes <= B_IN_L1 {
            BAND_ROWS
        } else {
            rows.len()
        };
        let bands = rows.clone().step_by(step).map(|first| first..rows.end.min(first + step));
        if b_bytes <= B_IN_L1 {
            bands.for_each(|band| panels.clone().for_each(|index| run(index, &band, scratch)));
        } else {
            panels.for_each(|index| bands.clone().for_each(|band| run(index, &band, scratch)));
        }
    }

    /// True if sums are finished in registers.
    fn is_fused(&self) -> bool {
        self.b.kernel.fuses && !self.b.needs_row_sums && self.finish.fuses()
    }

    /// # Safety
    /// As [`Self::run_part`], for these rows and this panel; `scratch` knows where the rows from `first_row` on are.
    unsafe fn run_band(
        &self,
        panel: &Panel,
        rows: &Range<usize>,
        first_row: usize,
        offsets: &[usize],
        scratch: &mut Scratch,
    ) {
        let (b, kernel) = (self.b, self.b.kernel);
        let finish = self.finish.at(rows.start, panel.col);
        let is_fused = self.is_fused();
        let first = rows.start - first_row;
        let at = b.data.as_ptr().wrapping_add(panel.offset);
        let band = Band {
            rows: scratch.pointers[first..][..rows.len()].as_ptr(),
            n_rows: rows.len(),
            offsets: offsets.as_ptr(),
            n_groups: offsets.len(),
            flip: self.flip,
            b: at,
            // The larger side comes from further away.
            next: if b.data.len() > self.a_bytes() {
                at.wrapping_add(panel.width * offsets.len() * 4)
            } else {
                std::ptr::null()
            },
            width: panel.width,
            n_cols: panel.n_cols,
            sums: scratch.sums.as_mut_ptr(),
            finish: is_fused.then_some(&finish),
        };
        // SAFETY: `locate` found these rows; the panel holds all of K; the sums have room; the rest is the caller's.
        unsafe {
            (kernel.run)(&band);
            if !is_fused {
                if b.needs_row_sums {
                    let zero_points = &b.zero_points[panel.col..][..panel.n_cols];
                    let row_sums = &scratch.row_sums[first..];
                    for (sums, &row_sum) in scratch.sums.chunks_exact_mut(panel.width).zip(row_sums).take(rows.len()) {
                        for (sum, &zero) in sums.iter_mut().zip(zero_points) {
                            *sum = sum.wrapping_sub(zero.wrapping_mul(row_sum));
                        }
                    }
                }
                (kernel.finish)(&finish, scratch.sums.as_ptr(), panel.width, rows.len(), panel.n_cols);
            }
            finish.apply_curve(self.activation, rows.len(), panel.n_cols);
        }
    }

    /// Finds or copies the given rows, and sums them if that is needed.
    fn locate(&self, rows: &Range<usize>, scratch: &mut Scratch) {
        let Scratch { copy, pointers, row_sums, .. } = scratch;
        copy.clear();
        pointers.clear();
        self.rows.locate(rows.clone(), copy, pointers);
        debug_assert!(pointers.len() == rows.len());
        if self.b.needs_row_sums {
            row_sums.clear();
            row_sums.extend(pointers.iter().map(|row| {
                let runs = self.rows.runs().map(|run| {
                    // SAFETY: the row has these runs.
                    let run = unsafe { std::slice::from_raw_parts(row.add(run), self.b.segment) };
                    run.iter().map(|&x| i32::from(x ^ self.flip)).sum::<i32>()
                });
                runs.fold(0, i32::wrapping_add)
            }));
        }
    }
}

/// Rows of a matrix of bytes, `k` long, `stride` apart.
pub(crate) struct MatrixBytes<'a> {
    pub a: &'a [u8],
    pub stride: usize,
    pub k: usize,
}

impl ByteRows for MatrixBytes<'_> {
    fn row_bytes(&self) -> usize {
        self.k
    }

    fn runs(&self) -> impl Iterator<Item = usize> {
        (self.k > 0).then_some(0).into_iter()
    }

    fn locate(&self, rows: Range<usize>, copy: &mut Vec<u8>, pointers: &mut Vec<*const u8>) {
        if self.k.is_multiple_of(4) {
            if let Some(last) = rows.clone().last() {
                // All rows are there if the last one is.
                assert!(self.a.len() >= last * self.stride + self.k, "rows inside of the matrix");
                let first = self.a.as_ptr();
                pointers.extend(rows.map(|row| first.wrapping_add(row * self.stride)));
            }
            return;
        }
        let padded = self.k.next_multiple_of(4);
        copy.reserve(rows.len() * padded);
        for row in rows.clone() {
            copy.extend_from_slice(&self.a[row * self.stride..][..self.k]);
            copy.resize(copy.len().next_multiple_of(4), 0);
        }
        pointers.extend((0..rows.len()).map(|row| copy[row * padded..][..padded].as_ptr()));
    }
}
