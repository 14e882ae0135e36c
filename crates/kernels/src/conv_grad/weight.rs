//! The weight gradient: sums of the parts of the pixels, then of the parts.

use super::Kernel;
use super::plan::{Ahead, Form, Piece, Plan};
use super::tile::{Segment, Tile};
use crate::conv::{ConvShape, Images};
use crate::error::ShapeError;
use crate::gemm::driver::part;
use crate::gemm::packed::panel;
use crate::gemm::tile::LINE;
use crate::threads::{Shareable, Threads};
use std::cell::RefCell;

/// Elements of `scratch` for [`conv_weight_gradient`].
///
/// # Errors
/// [`ShapeError`] if the groups do not divide the channels, a size is 0 or the window does not fit the images.
pub fn weight_gradient_scratch_len(shape: &ConvShape, images: Images) -> Result<usize, ShapeError> {
    scratch_len_for(Kernel::best(), shape, images)
}

pub(super) fn scratch_len_for(kernel: &'static Kernel, shape: &ConvShape, images: Images) -> Result<usize, ShapeError> {
    Ok(Plan::new(kernel, shape, images)?.scratch_len())
}

/// The gradient of a loss by the weight of a convolution, and by its bias.
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]`, what the convolution read |
/// | `d_out` | `[n, h', w', c_out]`, the gradient by what it wrote |
/// | `scratch` | [`weight_gradient_scratch_len`], whatever is in it |
/// | `d_weight` | `[c_out, c_in / groups, kh, kw]`, as ONNX has it |
/// | `d_bias` | `[c_out]` |
///
/// # Errors
/// [`ShapeError`] if a slice has another length or the window does not fit.
#[allow(clippy::too_many_arguments, reason = "three operands, two results and the room between")]
pub fn conv_weight_gradient(
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &ConvShape,
    d_out: &[f32],
    scratch: &mut [f32],
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) -> Result<(), ShapeError> {
    weight_gradient_for(Kernel::best(), threads, input, images, shape, d_out, scratch, d_weight, d_bias)
}

#[allow(clippy::too_many_arguments, reason = "the arguments of `conv_weight_gradient` and a kernel")]
pub(super) fn weight_gradient_for(
    kernel: &'static Kernel,
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &ConvShape,
    d_out: &[f32],
    scratch: &mut [f32],
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) -> Result<(), ShapeError> {
    let plan = Plan::new(kernel, shape, images)?;
    ShapeError::expect("input", input.len(), images.n * images.h * images.w * shape.c_in)?;
    ShapeError::expect("d_out", d_out.len(), plan.lines * plan.out_size[1] * shape.c_out)?;
    ShapeError::expect("d_weight", d_weight.len(), shape.weight_len())?;
    ShapeError::expect("scratch", scratch.len(), plan.scratch_len())?;
    if let Some(d_bias) = &d_bias {
        ShapeError::expect("d_bias", d_bias.len(), shape.c_out)?;
    }
    plan.sum_parts(threads, input, d_out, scratch, d_bias.is_some());
    plan.add_parts(threads, scratch, d_weight);
    if let Some(d_bias) = d_bias {
        let from = scratch[plan.group_len * plan.groups..].as_ptr();
        // SAFETY: every part has as many sums there; the kernel is one this CPU supports.
        unsafe { (kernel.add_rows)(from, plan.part_len(), plan.parts, false, d_bias) };
    }
    Ok(())
}

thread_local! {
    static SEGMENTS: RefCell<Vec<Segment>> = const { RefCell::new(Vec::new()) };
}

impl Plan<'_> {
    /// Sums every part by itself into `scratch`.
    fn sum_parts(&self, threads: &Threads, input: &[f32], d_out: &[f32], scratch: &mut [f32], has_bias: bool) {
        let pieces = self.pieces();
        let [kernel_h, _] = self.shape.window.kernel;
        // Rows of taps by panels: what tasks can share without touching the same sums.
        let columns = if self.form == Form::Depthwise { self.kernel.depthwise_columns } else { self.kernel.panel };
        let panels = self.n.div_ceil(columns);
        let units = self.groups * panels * kernel_h;
        let wanted = if self.parts < 4 * threads.count() { (4 * threads.count()).div_ceil(self.parts) } else { 1 };
        let shares = wanted.min(units).max(1);
        let part_len = self.part_len();
        let to = Shareable(scratch.as_mut_ptr());
        threads.run(self.parts * shares, |task| {
            let (index, share) = (task / shares, task % shares);
            let lines = part(index, self.parts, self.lines);
            let units = part(share, shares, units);
            // SAFETY: sums of this part.
            let sums = unsafe { to.at(index * part_len) };
            SEGMENTS.with_borrow_mut(|segments| {
                for unit in units.clone() {
                    // SAFETY: this unit's sums, and no other task's.
                    unsafe { self.clear(unit, panels, sums) };
                }
                for block in self.blocks(lines.clone()) {
                    let mut ahead = self.ahead(input, d_out, block.end..lines.end);
                    for unit in units.clone() {
                        for piece in &pieces {
                            self.segments(unit % kernel_h, piece, block.clone(), segments);
                            // SAFETY: segments are inside of both images; the sums are this unit's.
                            unsafe { self.sum_piece(unit, panels, piece, segments, &mut ahead, input, d_out, sums) };
                        }
                    }
                }
            });
            if has_bias && share == 0 {
                let (c, width) = (self.shape.c_out, self.out_size[1]);
                // SAFETY: the sums of the bias lie behind the others; the rows are those of this part.
                unsafe {
                    let to = std::slice::from_raw_parts_mut(sums.add(self.group_len * self.groups), c);
                    let from = d_out[lines.start * width * c..].as_ptr();
                    (self.kernel.add_rows)(from, c, lines.len() * width, false, to);
                }
            }
        });
    }

    /// # Safety
    /// `sums` are those of one part, and nobody else uses those of `unit`.
    unsafe fn clear(&self, unit: usize, panels: usize, sums: *mut f32) {
        let [group, index, tap] = self.unit(unit, panels);
        let rows = self.k / self.shape.window.kernel[0];
        // SAFETY: the caller's.
        unsafe {
            if self.form == Form::Depthwise {
                let first = index * self.kernel.depthwise_columns;
                let n = (self.n - first).min(self.kernel.depthwise_columns);
                for row in tap * rows..(tap + 1) * rows {
                    sums.add(row * self.n + first).write_bytes(0, n);
                }
            } else {
                let panel = panel(index, self.kernel.panel, self.k, self.n);
                let at = group * self.group_len + panel.offset + tap * rows * panel.width;
                sums.add(at).write_bytes(0, rows * panel.width);
            }
        }
    }

    /// # Safety
    /// As [`Self::clear`]; `segments` lie inside of `input` and `d_out`.
    #[allow(clippy::too_many_arguments, reason = "one piece of work, from two sides to one")]
    unsafe fn sum_piece(
        &self,
        unit: usize,
        panels: usize,
        piece: &Piece,
        segments: &[Segment],
        ahead: &mut Ahead,
        input: &[f32],
        d_out: &[f32],
        sums: *mut f32,
    ) {
        let [group, index, tap] = self.unit(unit, panels);
        let [_, kernel_w] = self.shape.window.kernel;
        let (x_step, d_step) = (self.shape.window.stride[1] * self.shape.c_in, self.shape.c_out);
        if self.form == Form::Depthwise {
            let first = index * self.kernel.depthwise_columns;
            let n_cols = (self.n - first).min(self.kernel.depthwise_columns);
            // SAFETY: the caller's.
            unsafe {
                let sums = sums.add((tap * kernel_w + piece.taps.start) * self.n + first);
                let (x, d) = (input.as_ptr().wrapping_add(first), d_out.as_ptr().wrapping_add(first));
                (self.kernel.depthwise)(&Tile {
                    segments,
                    x,
                    x_step,
                    d,
                    d_step,
                    d_vector: 0,
                    sums_vector: 0,
                    vector_cols: 0,
                    sums,
                    sums_stride: 0,
                    n_cols,
                    next: std::ptr::null(),
                    next_step: 0,
                });
            }
            return;
        }
        let channels = self.shape.c_in / self.shape.groups;
        let panel = panel(index, self.kernel.panel, self.k, self.n);
        let is_wide = panel.width == self.kernel.panel;
        let is_shared = self.form == Form::Shared;
        let vectors = if is_shared { piece.taps.len() } else { 1 + usize::from(is_wide) };
        let most = match vectors {
            1 => self.kernel.narrow_rows,
            2 => self.kernel.tile_rows,
            _ => self.kernel.taps_rows,
        };
        let rows = if is_shared { channels } else { piece.taps.len() * channels };
        let n_tiles = rows.div_ceil(most);
        let first_row = (tap * kernel_w + piece.taps.start) * channels;
        let half = self.kernel.panel / 2;
        let (d_vector, sums_vector, vector_cols) = if is_shared {
            (-((self.shape.window.dilation[1] * d_step) as isize), channels * panel.width, 0)
        } else {
            (half as isize, half, half)
        };
        let pixels = segments.iter().map(|segment| segment.n).sum();
        for rows in (0..n_tiles).map(|tile| part(tile, n_tiles, rows)) {
            // SAFETY: the caller's.
            unsafe {
                let at = group * self.group_len + panel.offset + (first_row + rows.start) * panel.width;
                let tile = Tile {
                    segments,
                    x: input.as_ptr().wrapping_add(group * channels + rows.start),
                    x_step,
                    d: d_out.as_ptr().wrapping_add(group * self.n + panel.col),
                    d_step,
                    d_vector,
                    sums_vector,
                    vector_cols,
                    sums: sums.add(at),
                    sums_stride: panel.width,
                    n_cols: panel.n_cols,
                    next: ahead.at,
                    next_step: if ahead.lines > 0 { LINE } else { 0 },
                };
                ahead.pass(pixels);
                (self.kernel.run)(rows.len(), vectors, &tile);
            }
        }
    }

    /// Adds the parts in order and writes them as ONNX has weights.
    fn add_parts(&self, threads: &Threads, scratch: &[f32], d_weight: &mut [f32]) {
        /// Rows of sums a task adds at once.
        const ROWS: usize = 64;
        let taps = self.shape.window.taps();
        let channels = self.k / taps;
        let columns = if self.form == Form::Depthwise { self.n.max(1) } else { self.kernel.panel };
        let panels = self.n.div_ceil(columns);
        let row_parts = self.k.div_ceil(ROWS);
        let to = Shareable(d_weight.as_mut_ptr());
        threads.run(self.groups * panels * row_parts, |task| {
            let (rows, task) = (task % row_parts, task / row_parts);
            let (group, index) = (task / panels, task % panels);
            let panel = panel(index, columns, self.k, self.n);
            let (width, n_cols) =
                if self.form == Form::Depthwise { (self.n, self.n) } else { (panel.width, panel.n_cols) };
            let mut sum = [0.0f32; 64];
            for row in rows * ROWS..self.k.min((rows + 1) * ROWS) {
                let (tap, channel) = (row / channels, row % channels);
                for first in (0..n_cols).step_by(sum.len()) {
                    let sum = &mut sum[..(n_cols - first).min(64)];
                    let from = group * self.group_len + panel.offset + row * width + first;
                    // SAFETY: every part has these sums; this element of the weight is written here only.
                    unsafe {
                        (self.kernel.add_rows)(scratch[from..].as_ptr(), self.part_len(), self.parts, false, sum);
                        for (col, &sum) in sum.iter().enumerate() {
                            let o = group * self.n + panel.col + first + col;
                            *to.at((o * channels + channel) * taps + tap) = sum;
                        }
                    }
                }
            }
        });
    }
}
