//! The slab of windows of several rows: lines that taps of one column of the window share.
//!
//! The vectors of a block lie below each other, one for each row of output. What a tap sees is then what the tap above
//! it sees, a row further down, so a line is written once for all rows of the window. With a stride `s`, rows that are `s`
//! apart follow each other: the phases.

use super::driver::{Block, Call};
use super::gather::{Lines, Piece, Run, prefetch};
use super::packed::Column;
use super::pixels::Pixels;
use crate::conv::{Channels, Window};
use crate::simd::Lanes;

/// Channels whose taps follow each other in the order of non-zeros; a slab holds a multiple of them.
pub(super) const CHANNELS: usize = 8;
/// Channels between the one that is copied and the one that is asked for.
const AHEAD: usize = 2;

/// Where the taps of a channel begin in its part of the slab. A position is a line, which is one vector.
#[derive(Debug, Clone)]
pub(super) struct Bands {
    kernel: [usize; 2],
    stride: usize,
    dilation: usize,
    phases: Vec<Phase>,
    /// Of a channel and a column of the window.
    lines: usize,
    /// The most channels in a slab.
    pub channels: usize,
}

/// Input rows a stride apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    /// The first, seen from the first row of the window.
    pub row: usize,
    /// Its line.
    first: usize,
    /// Rows after those of the first tap.
    pub more: usize,
}

impl Bands {
    /// For blocks of `rows` rows and slabs of about `room` lines; none if there is nothing to share or too little room.
    pub fn of(window: &Window, c_in: usize, rows: usize, room: usize) -> Option<Self> {
        let ([kernel_h, kernel_w], stride, dilation) = (window.kernel, window.stride[0], window.dilation[0]);
        let mut phases: Vec<Phase> = Vec::new();
        for down in (0..kernel_h).map(|tap| tap * dilation) {
            let (row, more) = (down % stride, down / stride);
            match phases.iter_mut().find(|phase| phase.row == row) {
                Some(phase) => phase.more = more,
                None => phases.push(Phase { row, first: 0, more }),
            }
        }
        let mut lines = 0;
        for phase in &mut phases {
            phase.first = lines;
            lines += rows + phase.more;
        }
        // Rows far apart share nothing: all between them would be copied.
        let is_shared = lines < kernel_h * rows;
        let fit = room / (kernel_w * lines) / CHANNELS * CHANNELS;
        if !is_shared || fit == 0 {
            return None;
        }
        // Slabs of about the same size.
        let groups = c_in.div_ceil(CHANNELS).max(1);
        let slabs = groups.div_ceil(fit / CHANNELS);
        let channels = groups.div_ceil(slabs) * CHANNELS;
        Some(Self { kernel: window.kernel, stride, dilation, phases, lines, channels })
    }

    /// Line of a tap, for the first row of the block.
    pub fn position(&self, channel: usize, tap: u32) -> usize {
        let (down, right) = (tap as usize / self.kernel[1] * self.dilation, tap as usize % self.kernel[1]);
        let phase = self.phases.iter().find(|phase| phase.row == down % self.stride);
        let first = phase.map_or(0, |phase| phase.first);
        channel * self.lines_of_channel() + right * self.lines + first + down / self.stride
    }

    /// Lines of a slab.
    pub fn size(&self) -> usize {
        self.channels * self.lines_of_channel()
    }

    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// From one channel to the next.
    pub fn lines_of_channel(&self) -> usize {
        self.kernel[1] * self.lines
    }
}

/// Fills the slab with `channels`.
///
/// # Safety
/// The slab has room for them, `call` is as large as its shape says; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn fill<V: Lanes>(call: &Call<'_>, block: &mut Block<'_>, bands: &Bands, channels: &[Column]) {
    let stride = call.packed.shape().window.stride[1];
    // SAFETY: the caller's.
    unsafe {
        match (call.from, block.plan.spans.len(), stride) {
            (Channels::Last, ..) => pixels::<V>(call, block, bands, channels),
            (_, 1, 1) => planes::<V, 1>(call, block, bands, channels),
            (_, 2, 1) => planes::<V, 2>(call, block, bands, channels),
            (_, 3, 1) => planes::<V, 3>(call, block, bands, channels),
            (_, _, 1) => planes::<V, 0>(call, block, bands, channels),
            _ => strided::<V>(call, block, bands, channels, stride),
        }
    }
}

/// `SPANS` is the number of spans, or 0 for any; columns are read side by side.
///
/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn planes<V: Lanes, const SPANS: usize>(call: &Call<'_>, block: &Block<'_>, bands: &Bands, channels: &[Column]) {
    let plane = call.images.h * call.images.w;
    let pitch = bands.stride * call.images.w;
    let n_spans = if SPANS == 0 { block.plan.spans.len() } else { SPANS };
    let mut to = block.slab;
    for column in channels {
        let mut from = call.input.as_ptr().wrapping_add(column.channel as usize * plane);
        let mut offsets = block.plan.offsets.as_ptr();
        let mut masks = block.plan.masks.as_ptr();
        for right in 0..bands.kernel[1] {
            for phase in &bands.phases {
                let mut line = to.wrapping_add((right * bands.lines + phase.first) * V::N);
                let top = from;
                for _ in 0..block.vectors + phase.more {
                    // SAFETY: offsets and masks were made for as many lines and spans; masked lanes are inside.
                    unsafe {
                        let mut x = V::splat(0.0);
                        for span in 0..n_spans {
                            let from = from.wrapping_offset(*offsets.add(span));
                            if right == 0 {
                                prefetch(from.wrapping_add(AHEAD * plane));
                            }
                            x = x.load_where(from, *masks.add(span));
                        }
                        x.store(line);
                        masks = masks.add(n_spans);
                    }
                    (line, from) = (line.wrapping_add(V::N), from.wrapping_add(pitch));
                }
                offsets = offsets.wrapping_add(n_spans);
                from = top;
            }
        }
        to = to.wrapping_add(bands.lines_of_channel() * V::N);
    }
}

/// Line by line for all channels: what a mask of strided columns needs is prepared once.
///
/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn strided<V: Lanes>(call: &Call<'_>, block: &Block<'_>, bands: &Bands, channels: &[Column], stride: usize) {
    let plane = call.images.h * call.images.w;
    let pitch = (bands.stride * call.images.w) as isize;
    let (input, width, plan) = (call.input.as_ptr(), bands.lines_of_channel() * V::N, &*block.plan);
    let (mut offsets, mut masks) = (&plan.offsets[..], &plan.masks[..]);
    let mut pieces = Vec::with_capacity(plan.spans.len());
    for right in 0..bands.kernel[1] {
        for phase in &bands.phases {
            for down in 0..block.vectors + phase.more {
                pieces.clear();
                let all = offsets.iter().zip(masks).take(plan.spans.len()).filter(|&(_, &mask)| mask != 0);
                pieces.extend(all.map(|(&offset, &mask)| Piece { offset: offset + down as isize * pitch, mask }));
                let to = block.slab.wrapping_add((right * bands.lines + phase.first + down) * V::N);
                let lines = Lines { input, plane, to, width, columns: channels, pieces: &pieces };
                // SAFETY: lanes of the masks are inside of the plane, the slab has room for these channels.
                unsafe {
                    match stride {
                        2 => lines.copy::<V, 2>(2),
                        _ => lines.copy::<V, 0>(stride),
                    }
                }
                masks = &masks[plan.spans.len()..];
            }
            offsets = &offsets[plan.spans.len()..];
        }
    }
}

/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn pixels<V: Lanes>(call: &Call<'_>, block: &mut Block<'_>, bands: &Bands, channels: &[Column]) {
    let (c_in, window) = (call.packed.shape().c_in, call.packed.shape().window);
    let width = bands.lines_of_channel() * V::N;
    for right in 0..bands.kernel[1] {
        let dx = (right * window.dilation[1]) as isize - window.pads[1] as isize;
        for phase in &bands.phases {
            let dy = phase.row as isize - window.pads[0] as isize;
            for down in 0..block.vectors + phase.more {
                let plan = &mut *block.plan;
                plan.line.clear();
                plan.line.extend(plan.spans.iter().map(|span| Run { y: span.y + down, ..*span }));
                let size = [call.images.h, call.images.w];
                let from = Pixels::find(call.input.as_ptr(), c_in, &plan.line, &window, size, (dy, dx));
                let to = block.slab.wrapping_add((right * bands.lines + phase.first + down) * V::N);
                // SAFETY: the pixels are outside or inside of the input, the slab has room for these channels.
                unsafe { from.transpose::<V>(c_in, channels, to, width) };
            }
        }
    }
}
