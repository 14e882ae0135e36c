//! Cuts a layer into tasks, and finds the inputs of each row.

use super::lanes::Tile;
use super::{GROUP, MAX_ROWS, Packed24};
use crate::activation::Activation;
use crate::conv::Images;
use crate::conv::gather::Pixels;
use crate::gemm::driver::part;
use crate::threads::{Shareable, Threads};
use std::cell::RefCell;
use std::ops::Range;

/// Bytes of the rows that a panel is multiplied by before the next.
const STRIP_BYTES: usize = 192 << 10;
/// Multiply-adds worth a task of their own.
const TASK_WORK: usize = 1 << 16;

/// The checked arguments of a call.
pub(super) struct Call<'a> {
    pub input: &'a [f32],
    pub images: Images,
    pub packed: &'a Packed24,
    pub out_size: [usize; 2],
    /// Output pixels.
    pub m: usize,
    /// `c_out` floats or null.
    pub bias: *const f32,
    /// Laid out as the output, or null.
    pub residual: *const f32,
    pub activation: Activation,
    pub out: Shareable<f32>,
}

// SAFETY: the raw pointers are read only (`bias`, `residual`) or written in disjoint blocks (`out`).
unsafe impl Sync for Call<'_> {}

thread_local! {
    static ROWS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Call<'_> {
    /// # Safety
    /// The slices and pointers are as large as the shape says, and nobody else uses `out`.
    pub unsafe fn run(&self, threads: &Threads) {
        let kernel = self.packed.kernel;
        let n_panels = self.packed.shape().c_out.div_ceil(kernel.panel);
        let n_tiles = self.m.div_ceil(kernel.rows);
        let work = self.m.saturating_mul(self.packed.data.len());
        let wanted = if threads.count() == 1 { 1 } else { (work / TASK_WORK).clamp(1, 4 * threads.count()) };
        // Rows apart share no inputs; panels apart share them all, but then each task reads a part of the weights only.
        let row_parts = wanted.min(if n_tiles < threads.count() { 1 } else { n_tiles });
        let panel_parts = (wanted / row_parts).clamp(1, n_panels);
        threads.run(row_parts * panel_parts, |task| {
            let tiles = part(task / panel_parts, row_parts, n_tiles);
            let panels = part(task % panel_parts, panel_parts, n_panels);
            let rows = tiles.start * kernel.rows..self.m.min(tiles.end * kernel.rows);
            let width = self.packed.groups() * GROUP;
            let strip = (STRIP_BYTES / 4 / width.max(1) / kernel.rows).max(1) * kernel.rows;
            for first in rows.clone().step_by(strip) {
                // SAFETY: the caller's; tasks are disjoint in rows or panels.
                unsafe { self.strip(first..rows.end.min(first + strip), panels.clone()) };
            }
        });
    }

    /// # Safety
    /// As [`Self::run`], and nobody else writes these outputs.
    unsafe fn strip(&self, rows: Range<usize>, panels: Range<usize>) {
        let (kernel, shape) = (self.packed.kernel, self.packed.shape());
        let (k, width) = (shape.c_in * shape.window.taps(), self.packed.groups() * GROUP);
        // Rows that are adjacent pixels of whole groups are read where they are.
        let is_direct = shape.window.is_point() && k == width;
        ROWS.with_borrow_mut(|memory| {
            let start = if is_direct {
                self.input[rows.start * k..].as_ptr()
            } else {
                memory.clear();
                memory.resize(rows.len() * width, 0.0);
                let pixels = Pixels {
                    input: self.input,
                    images: self.images,
                    window: shape.window,
                    out_size: self.out_size,
                    c_in: shape.c_in,
                    channels: 0..shape.c_in,
                    pad: 0.0,
                };
                // SAFETY: there is room for these rows.
                unsafe { pixels.pack(rows.clone(), 0..k, memory.as_mut_ptr(), width) };
                memory.as_ptr()
            };
            for panel in panels {
                let col = panel * kernel.panel;
                let n_cols = kernel.panel.min(shape.c_out - col);
                for row in rows.clone().step_by(kernel.rows) {
                    let n_rows = kernel.rows.min(rows.end - row);
                    let row_of = |index: usize| start.wrapping_add((row - rows.start + index.min(n_rows - 1)) * width);
                    let at = row * shape.c_out + col;
                    let shift = |from: *const f32, by: usize| if from.is_null() { from } else { from.wrapping_add(by) };
                    // SAFETY: inside of `out`.
                    let out = unsafe { self.out.at(at) };
                    let tile = Tile {
                        rows: std::array::from_fn::<_, MAX_ROWS, _>(row_of),
                        groups: self.packed.groups(),
                        passes: self.packed.passes,
                        data: self.packed.data[panel * self.packed.panel_len()..].as_ptr(),
                        bias: shift(self.bias, col),
                        residual: shift(self.residual, at),
                        clamp: self.activation.clamp(),
                        out,
                        stride: shape.c_out,
                        n_cols,
                    };
                    // SAFETY: the caller's; rows are whole groups.
                    unsafe { (kernel.run)(n_rows, &tile) };
                    if self.activation.is_curve() {
                        for index in 0..n_rows {
                            // SAFETY: these outputs are ours.
                            let out = unsafe { std::slice::from_raw_parts_mut(out.add(index * shape.c_out), n_cols) };
                            self.activation.apply(out);
                        }
                    }
                }
            }
        });
    }
}
