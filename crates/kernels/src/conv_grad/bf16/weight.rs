//! The weight gradient: sums of the parts of the pixels, then of the parts.

use super::Kernel;
use super::plan::{Block, Plan};
use super::tile::{PairLine, PairTile};
use crate::bgemm::widen;
use crate::conv::{ConvShape, Images};
use crate::conv_grad::tile::Segment;
use crate::error::ShapeError;
use crate::gemm::driver::part;
use crate::threads::{Shareable, Threads};
use std::cell::RefCell;
use std::ops::Range;

/// Elements of `scratch` for [`conv_weight_gradient_pairs`].
///
/// # Errors
/// [`ShapeError`] if the groups do not divide the channels, a size is 0, each channel is its own, or the window does not fit the
/// images.
pub fn weight_gradient_pairs_scratch_len(shape: &ConvShape, images: Images) -> Result<usize, ShapeError> {
    scratch_len_for(Kernel::best(), shape, images)
}

pub(in crate::conv_grad) fn scratch_len_for(
    kernel: &'static Kernel,
    shape: &ConvShape,
    images: Images,
) -> Result<usize, ShapeError> {
    let plan = Plan::new(kernel, shape, images)?;
    Ok(plan.part_len() * plan.parts)
}

/// The gradient of a loss by the weight of a convolution, and by its bias. Images are pairs ([`crate::bgemm::round_into`], rows are
/// pixels), sums are f32.
///
/// | value | shape |
/// |---|---|
/// | `input` | pairs of `[n, h, w, c_in]`, what the convolution read |
/// | `d_out` | pairs of `[n, h', w', c_out]`, the gradient by what it wrote |
/// | `scratch` | [`weight_gradient_pairs_scratch_len`], whatever is in it |
/// | `d_weight` | `[c_out, c_in / groups, kh, kw]`, as ONNX has it, f32 |
/// | `d_bias` | `[c_out]`, f32 |
///
/// # Errors
/// [`ShapeError`] if a slice has another length or the window does not fit.
#[allow(clippy::too_many_arguments, reason = "three operands, two results and the room between")]
pub fn conv_weight_gradient_pairs(
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

#[allow(clippy::too_many_arguments, reason = "the arguments of `conv_weight_gradient_pairs` and a kernel")]
pub(in crate::conv_grad) fn weight_gradient_for(
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
    let (x, d) = (pixel(shape.c_in), pixel(shape.c_out));
    ShapeError::expect("input", input.len(), images.n * images.h * images.w * x / 2)?;
    ShapeError::expect("d_out", d_out.len(), plan.lines * plan.out_size[1] * d / 2)?;
    ShapeError::expect("d_weight", d_weight.len(), shape.weight_len())?;
    ShapeError::expect("scratch", scratch.len(), plan.part_len() * plan.parts)?;
    if let Some(d_bias) = &d_bias {
        ShapeError::expect("d_bias", d_bias.len(), shape.c_out)?;
    }
    plan.sum_parts(threads, input, d_out, scratch, d_bias.is_some());
    plan.add_parts(threads, scratch, d_weight);
    if let Some(d_bias) = d_bias {
        let first = plan.part_len() - shape.c_out;
        for (channel, to) in d_bias.iter_mut().enumerate() {
            *to = (0..plan.parts).map(|part| scratch[part * plan.part_len() + first + channel]).sum();
        }
    }
    Ok(())
}

/// Numbers of a pixel of pairs.
fn pixel(channels: usize) -> usize {
    channels.next_multiple_of(2)
}

/// What a thread needs for a block.
#[derive(Default)]
struct Room {
    x: Vec<f32>,
    d: Vec<f32>,
    segments: Vec<Segment>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

impl Plan<'_> {
    /// Sums every part by itself into `scratch`.
    fn sum_parts(&self, threads: &Threads, input: &[f32], d_out: &[f32], scratch: &mut [f32], has_bias: bool) {
        // Panels of output channels: what tasks can share without touching the same sums.
        let panels = self.width.div_ceil(2 * self.kernel.lanes);
        let units = self.shape.groups * panels;
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
            for unit in units.clone() {
                // SAFETY: this unit's sums, and no other task's.
                unsafe { self.clear(unit, panels, sums) };
            }
            ROOM.with_borrow_mut(|room| {
                for block in self.blocks(lines.clone()) {
                    self.pack(&block, input, d_out, room);
                    for unit in units.clone() {
                        // SAFETY: above.
                        unsafe { self.sum_unit(unit, panels, &block, room, sums) };
                    }
                }
            });
            if has_bias && share == 0 {
                let c = self.shape.c_out;
                // SAFETY: the sums of the bias lie behind the others.
                let sums = unsafe { std::slice::from_raw_parts_mut(sums.add(part_len - c), c) };
                self.sum_bias(d_out, lines, sums);
            }
        });
    }

    /// The group of a unit, its first column and how many vectors it has.
    fn unit(&self, unit: usize, panels: usize) -> (usize, usize, usize) {
        let (group, panel) = (unit / panels, unit % panels);
        let col = panel * 2 * self.kernel.lanes;
        (group, col, (self.width - col).min(2 * self.kernel.lanes) / self.kernel.lanes)
    }

    /// # Safety
    /// `sums` are those of one part, and nobody else uses those of `unit`.
    unsafe fn clear(&self, unit: usize, panels: usize, sums: *mut f32) {
        let (group, col, vectors) = self.unit(unit, panels);
        let rows = self.shape.window.taps() * self.channels;
        for row in group * rows..(group + 1) * rows {
            // SAFETY: the caller's.
            unsafe { sums.add(row * self.width + col).write_bytes(0, vectors * self.kernel.lanes) };
        }
    }

    /// Lays out the lines of a block as pairs of pixels.
    fn pack(&self, block: &Block, input: &[f32], d_out: &[f32], room: &mut Room) {
        let (Images { h, w, .. }, [out_h, out_w]) = (self.images, self.out_size);
        let (groups, n_ways) = (self.shape.groups, self.firsts.len());
        let (x_pixel, d_pixel) = (pixel(self.shape.c_in), pixel(self.shape.c_out));
        room.x.resize(block.images.len() * block.rows.len() * n_ways * self.x_line(), 0.0);
        room.d.resize(block.images.len() * block.lines.len() * self.d_line(), 0.0);
        let lines = block.images.clone().flat_map(|image| block.rows.clone().map(move |row| image * h + row));
        for (line, to) in lines.zip(room.x.chunks_exact_mut((n_ways * self.x_line()).max(1))) {
            let from = input[line * w * x_pixel / 2..].as_ptr().cast::<u16>();
            for (way, &first) in self.firsts.iter().enumerate() {
                let line = PairLine {
                    from,
                    pixels: w,
                    step: x_pixel,
                    channels: self.shape.c_in,
                    first,
                    stride: self.shape.window.stride[1],
                    entries: self.entries,
                    to: to[way * self.x_line()..].as_mut_ptr(),
                    width: self.shape.c_in,
                };
                // SAFETY: the line lies in the input, and there is room for all entries; this CPU can run the kernel.
                unsafe { (self.kernel.pack)(&line) };
            }
        }
        let lines = block.images.clone().flat_map(|image| block.lines.clone().map(move |line| image * out_h + line));
        for (line, to) in lines.zip(room.d.chunks_exact_mut(self.d_line().max(1))) {
            let from = d_out[line * out_w * d_pixel / 2..].as_ptr().cast::<u16>();
            for group in 0..groups {
                let line = PairLine {
                    from: from.wrapping_add(group * self.n),
                    pixels: out_w,
                    step: d_pixel,
                    channels: self.n,
                    first: 0,
                    stride: 1,
                    entries: self.out_entries,
                    to: to[group * self.out_entries * self.width..].as_mut_ptr(),
                    width: self.width,
                };
                // SAFETY: as above.
                unsafe { (self.kernel.pack)(&line) };
            }
        }
    }

    /// # Safety
    /// `sums` are those of one part, and nobody else uses those of `unit`; `room` holds the block.
    unsafe fn sum_unit(&self, unit: usize, panels: usize, block: &Block, room: &mut Room, sums: *mut f32) {
        let (group, col, vectors) = self.unit(unit, panels);
        let window = &self.shape.window;
        let [kernel_h, kernel_w] = window.kernel;
        let Room { x, d, segments } = room;
        let most = self.kernel.rows[2 - vectors];
        let n_tiles = self.channels.div_ceil(most);
        for tap in 0..kernel_h {
            self.segments(tap, block, segments);
            for (column, &(way, entry)) in self.columns.iter().enumerate() {
                for rows in (0..n_tiles).map(|tile| part(tile, n_tiles, self.channels)) {
                    let row = (group * kernel_h * kernel_w + tap * kernel_w + column) * self.channels + rows.start;
                    let at = way * self.x_line() + entry * self.shape.c_in + group * self.channels + rows.start;
                    // SAFETY: the segments lie in the lines of the block; the rest is the caller's.
                    unsafe {
                        let tile = PairTile {
                            segments,
                            x: x.as_ptr().add(at),
                            x_step: self.shape.c_in,
                            d: d.as_ptr().add(group * self.out_entries * self.width + col),
                            d_step: self.width,
                            sums: sums.add(row * self.width + col),
                            sums_stride: self.width,
                        };
                        (self.kernel.run)(rows.len(), vectors, &tile);
                    }
                }
            }
        }
    }

    /// Where the pairs of a block are for row `tap` of the window.
    fn segments(&self, tap: usize, block: &Block, segments: &mut Vec<Segment>) {
        let window = &self.shape.window;
        segments.clear();
        for (image, line) in
            (0..block.images.len()).flat_map(|image| block.lines.clone().map(move |line| (image, line)))
        {
            let row = (line * window.stride[0] + tap * window.dilation[0]).wrapping_sub(window.pads[0]);
            if !block.rows.contains(&row) {
                continue;
            }
            let x = (image * block.rows.len() + row - block.rows.start) * self.firsts.len() * self.x_line();
            let d = (image * block.lines.len() + line - block.lines.start) * self.d_line();
            segments.push(Segment { x, d, n: self.out_entries });
        }
    }

    /// The sums of the gradient over some lines of outputs.
    fn sum_bias(&self, d_out: &[f32], lines: Range<usize>, sums: &mut [f32]) {
        let words = pixel(self.shape.c_out) / 2;
        sums.fill(0.0);
        let pixels = lines.start * self.out_size[1] * words..lines.end * self.out_size[1] * words;
        for from in d_out[pixels].chunks_exact(words.max(1)) {
            for (sums, pair) in sums.chunks_mut(2).zip(from) {
                let bits = pair.to_bits();
                sums[0] += widen(bits as u16);
                if let Some(second) = sums.get_mut(1) {
                    *second += widen((bits >> 16) as u16);
                }
            }
        }
    }

    /// Adds the parts in order and writes them as ONNX has weights.
    fn add_parts(&self, threads: &Threads, scratch: &[f32], d_weight: &mut [f32]) {
        let (taps, part_len) = (self.shape.window.taps(), self.part_len());
        let to = Shareable(d_weight.as_mut_ptr());
        threads.run(self.shape.groups * self.channels, |task| {
            let (group, channel) = (task / self.channels, task % self.channels);
            let mut sums = vec![0.0f32; self.n];
            for tap in 0..taps {
                let row = (group * taps + tap) * self.channels + channel;
                sums.fill(0.0);
                for part in 0..self.parts {
                    let from = &scratch[part * part_len + row * self.width..][..self.n];
                    sums.iter_mut().zip(from).for_each(|(sum, from)| *sum += from);
                }
                for (col, &sum) in sums.iter().enumerate() {
                    let at = ((group * self.n + col) * self.channels + channel) * taps + tap;
                    // SAFETY: this element of the weight is written here only.
                    unsafe { *to.at(at) = sum };
                }
            }
        });
    }
}
