//! How a weight gradient is cut: pixels in parts, blocks and segments, taps in pieces.

use super::Kernel;
use super::tile::Segment;
use crate::conv::{ConvShape, Images};
use crate::error::ShapeError;
use crate::gemm::packed;
use crate::gemm::tile::LINE;
use std::ops::Range;

/// Floats of the sums of all parts, at most, where there is more than one.
const ALL_PARTS: usize = 1 << 18;
const MAX_PARTS: usize = 16;
/// Multiply-adds worth a part of their own.
const PART_WORK: usize = 1 << 19;
/// Floats of input and gradient that one block of lines reads: they stay in L2 while all taps pass over them.
const BLOCK: usize = 1 << 15;
/// Fewer channels than this are summed a row of taps at a time.
const FEW_CHANNELS: usize = 12;

/// Taps that one row of a tile sums at once.
const MAX_TAPS: usize = 3;

/// Pixels of a line that have the same taps of a row of the window, in the input and the output.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub taps: Range<usize>,
    /// The first pixel of the input.
    pub x: usize,
    /// The first output that has it, under the first tap.
    pub out: usize,
    pub n: usize,
}

/// How the taps of a row of the window are brought into tiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// Each channel is its own.
    Depthwise,
    /// One by one.
    Taps,
    /// Few channels: those of taps side by side are rows of one tile.
    Runs,
    /// Few outputs and a stride of 1: one pixel of the input, broadcast once, goes to the outputs that have it under other taps.
    Shared,
}

/// How a weight gradient is cut. Depends on shapes and the kernel, not on threads.
pub(super) struct Plan<'a> {
    pub kernel: &'static Kernel,
    pub shape: &'a ConvShape,
    pub images: Images,
    pub out_size: [usize; 2],
    /// Lines of outputs of all images.
    pub lines: usize,
    pub form: Form,
    /// As products: all groups, or one where each channel is its own.
    pub groups: usize,
    /// `[k, n]` of the sums of one group: taps by channels, output channels.
    pub k: usize,
    pub n: usize,
    /// Floats of the sums of one group.
    pub group_len: usize,
    pub parts: usize,
}

/// Cache lines of two stretches that are to be fetched while something else is computed.
#[derive(Default)]
pub(super) struct Ahead {
    pub at: *const f32,
    pub lines: usize,
    pub then: *const f32,
    pub then_lines: usize,
}

impl Ahead {
    /// A line was fetched for each of `pixels`.
    pub fn pass(&mut self, pixels: usize) {
        if self.lines > pixels {
            self.lines -= pixels;
            self.at = self.at.wrapping_add(pixels * LINE);
        } else {
            (self.at, self.lines, self.then_lines) = (self.then, self.then_lines, 0);
        }
    }
}

impl Form {
    fn of(kernel: &Kernel, shape: &ConvShape) -> Self {
        let window = &shape.window;
        if shape.is_depthwise() {
            Self::Depthwise
        } else if window.stride[1] == 1 && window.kernel[1] > 1 && shape.c_out / shape.groups * 2 <= kernel.panel {
            Self::Shared
        } else if shape.groups == 1 && shape.c_in < FEW_CHANNELS && window.dilation[1] == 1 {
            Self::Runs
        } else {
            Self::Taps
        }
    }
}

impl<'a> Plan<'a> {
    pub fn new(kernel: &'static Kernel, shape: &'a ConvShape, images: Images) -> Result<Self, ShapeError> {
        shape.check()?;
        let out_size = shape.window.output_size(images.h, images.w)?;
        ShapeError::product("input", &[images.n, images.h, images.w, shape.c_in])?;
        ShapeError::product("d_out", &[images.n, out_size[0], out_size[1], shape.c_out])?;
        let form = Form::of(kernel, shape);
        let (groups, k, n) = if form == Form::Depthwise {
            (1, shape.window.taps(), shape.c_out)
        } else {
            (shape.groups, shape.group_k(), shape.c_out / shape.groups)
        };
        let group_len = if form == Form::Depthwise { k * n } else { packed::packed_len(kernel.panel, k, n) };
        let lines = images.n * out_size[0];
        let work = (lines * out_size[1]).saturating_mul(shape.weight_len());
        let most = (ALL_PARTS / (group_len * groups).max(1)).min(work / PART_WORK).min(lines);
        let parts = most.clamp(1, MAX_PARTS);
        ShapeError::product("scratch", &[parts, groups, group_len + n])?;
        Ok(Self { kernel, shape, images, out_size, lines, form, groups, k, n, group_len, parts })
    }

    /// Floats of one part: the sums of all groups, then those of the bias.
    pub fn part_len(&self) -> usize {
        self.group_len * self.groups + self.shape.c_out
    }

    pub fn scratch_len(&self) -> usize {
        self.part_len() * self.parts
    }

    /// The pixels of a line, by the taps they have.
    pub fn pieces(&self) -> Vec<Piece> {
        let (window, w, out_w) = (&self.shape.window, self.images.w, self.out_size[1]);
        let (stride, dilation, pad) = (window.stride[1], window.dilation[1], window.pads[1]);
        let taps = 0..window.kernel[1];
        let mut pieces: Vec<Piece> = Vec::new();
        let mut add = |taps: Range<usize>, x: usize, out: usize| match pieces.last_mut() {
            Some(last) if last.taps == taps => last.n += 1,
            _ if taps.is_empty() => (),
            _ => pieces.push(Piece { taps, x, out, n: 1 }),
        };
        match self.form {
            Form::Depthwise | Form::Taps => {
                for tap in taps {
                    let at = tap * dilation;
                    let end = (w + pad).saturating_sub(at).div_ceil(stride).min(out_w);
                    let out = pad.saturating_sub(at).div_ceil(stride);
                    if out < end {
                        let x = out * stride + at - pad;
                        pieces.push(Piece { taps: tap..tap + 1, x, out, n: end - out });
                    }
                }
            }
            Form::Runs => {
                for out in 0..out_w {
                    let taps = window.inside(1, out, w);
                    add(taps.clone(), (out * stride + taps.start * dilation).wrapping_sub(pad), out);
                }
            }
            Form::Shared => {
                for first in taps.clone().step_by(MAX_TAPS) {
                    for x in 0..w {
                        // The output of tap 0; tap `t` has the one `t · dilation` before.
                        let out = x + pad;
                        let start = (out + 1).saturating_sub(out_w).div_ceil(dilation).max(first);
                        let end = (out / dilation + 1).min(taps.end).min(first + MAX_TAPS);
                        add(start..end.max(start), x, out.wrapping_sub(start * dilation));
                    }
                }
            }
        }
        pieces
    }

    /// Where the pixels of `piece` are for row `tap` of the window in `lines`.
    pub fn segments(&self, tap: usize, piece: &Piece, lines: Range<usize>, segments: &mut Vec<Segment>) {
        let (window, Images { h, w, .. }) = (&self.shape.window, self.images);
        let [out_h, out_w] = self.out_size;
        let n = piece.n;
        segments.clear();
        for line in lines {
            let row = (line % out_h * window.stride[0] + tap * window.dilation[0]).wrapping_sub(window.pads[0]);
            if row >= h {
                continue;
            }
            let x = ((line / out_h * h + row) * w + piece.x) * self.shape.c_in;
            let d = (line * out_w + piece.out) * self.shape.c_out;
            match segments.last_mut() {
                Some(last)
                    if last.x + last.n * window.stride[1] * self.shape.c_in == x
                        && last.d + last.n * self.shape.c_out == d =>
                {
                    last.n += n;
                }
                _ => segments.push(Segment { x, d, n }),
            }
        }
    }

    /// Cuts `lines` so that what a block reads stays in cache.
    pub fn blocks(&self, lines: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let floats =
            self.images.w * self.shape.c_in * self.shape.window.stride[0] + self.out_size[1] * self.shape.c_out;
        let step = (BLOCK / floats.max(1)).max(1);
        lines.clone().step_by(step).map(move |start| start..lines.end.min(start + step))
    }

    /// What the first block of `lines` will read.
    pub fn ahead(&self, input: &[f32], d_out: &[f32], lines: Range<usize>) -> Ahead {
        let Some(block) = self.blocks(lines).next() else { return Ahead::default() };
        let (x, d) = (self.images.w * self.shape.c_in, self.out_size[1] * self.shape.c_out);
        let row = |line: usize| {
            (line / self.out_size[0] * self.images.h + line % self.out_size[0] * self.shape.window.stride[0]) * x
        };
        let x = row(block.start)..row(block.end).min(input.len());
        Ahead {
            at: input.as_ptr().wrapping_add(x.start),
            lines: x.len().div_ceil(LINE),
            then: d_out.as_ptr().wrapping_add(block.start * d),
            then_lines: (block.len() * d).div_ceil(LINE),
        }
    }

    /// Group, panel and row of the window of a unit.
    pub fn unit(&self, unit: usize, panels: usize) -> [usize; 3] {
        let kernel_h = self.shape.window.kernel[0];
        [unit / kernel_h / panels, unit / kernel_h % panels, unit % kernel_h]
    }
}
