//! How a weight gradient in bf16 is cut: pixels in parts and blocks of lines, which are laid out as pairs of pixels.

use super::Kernel;
use crate::conv::changing_bf16::check;
use crate::conv::{ConvShape, Images};
use crate::error::ShapeError;
use std::ops::Range;

/// Floats of the sums of all parts, at most, where there is more than one.
const ALL_PARTS: usize = 1 << 19;
const MAX_PARTS: usize = 16;
/// Multiply-adds worth a part of their own.
const PART_WORK: usize = 1 << 19;
/// Floats that one block of lines takes as pairs: they stay in L2 while all taps pass over them.
const BLOCK: usize = 3 << 13;

/// Depends on shapes and the kernel, not on threads.
pub(super) struct Plan<'a> {
    pub kernel: &'static Kernel,
    pub shape: &'a ConvShape,
    pub images: Images,
    pub out_size: [usize; 2],
    /// Lines of outputs of all images.
    pub lines: usize,
    /// Channels of a group: of the input, of the output, and these in whole vectors.
    pub channels: usize,
    pub n: usize,
    pub width: usize,
    pub parts: usize,
    /// For each column of the window which of `firsts` it begins with, and how many entries later.
    pub columns: Vec<(usize, usize)>,
    /// The pixel that entry 0 of a line begins with, one for each way of pairing pixels.
    pub firsts: Vec<i64>,
    /// Entries of a line, of the input and of the output.
    pub entries: usize,
    pub out_entries: usize,
}

/// Lines of outputs: some of one image, or all of several.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub images: Range<usize>,
    pub lines: Range<usize>,
    /// Lines of each image that their windows reach.
    pub rows: Range<usize>,
}

impl<'a> Plan<'a> {
    pub fn new(kernel: &'static Kernel, shape: &'a ConvShape, images: Images) -> Result<Self, ShapeError> {
        check(shape)?;
        let window = &shape.window;
        let out_size = window.output_size(images.h, images.w)?;
        ShapeError::product("input", &[images.n, images.h, images.w, shape.c_in])?;
        ShapeError::product("d_out", &[images.n, out_size[0], out_size[1], shape.c_out])?;
        let (channels, n) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
        let width = n.next_multiple_of(kernel.lanes);
        let lines = images.n * out_size[0];
        let work = (lines * out_size[1]).saturating_mul(shape.weight_len());
        let len = ShapeError::product("scratch", &[window.taps(), shape.c_in, width])?;
        let most = (ALL_PARTS / len.max(1)).min(work / PART_WORK).min(lines).clamp(1, MAX_PARTS);
        // Powers of two, so that threads have as many each.
        let parts = 1 << most.ilog2();
        ShapeError::product("scratch", &[parts, len + shape.c_out])?;
        // Output pair `q` reads pixels `2 q · stride + at` and the one a stride later: where `at` differs by twice the stride,
        // only the entry differs.
        let step = 2 * window.stride[1] as i64;
        let places = (0..window.kernel[1]).map(|tap| (tap * window.dilation[1]) as i64 - window.pads[1] as i64);
        let places: Vec<[i64; 2]> = places.map(|at| [at.div_euclid(step), at.rem_euclid(step)]).collect();
        let least = places.iter().map(|place| place[0]).min().unwrap_or(0);
        let most = places.iter().map(|place| place[0]).max().unwrap_or(0);
        let mut phases: Vec<i64> = places.iter().map(|place| place[1]).collect();
        phases.sort_unstable();
        phases.dedup();
        let phase = |of: i64| phases.iter().position(|&phase| phase == of).unwrap_or(0);
        let columns = places.iter().map(|&[entry, of]| (phase(of), (entry - least) as usize)).collect();
        let firsts = phases.iter().map(|phase| least * step + phase).collect();
        let out_entries = out_size[1].div_ceil(2);
        let entries = out_entries + (most - least) as usize;
        let plan = Self {
            kernel,
            shape,
            images,
            out_size,
            lines,
            channels,
            n,
            width,
            parts,
            columns,
            firsts,
            entries,
            out_entries,
        };
        Ok(plan)
    }

    /// Floats of the sums of one part: groups, taps, channels, outputs; then those of the bias.
    pub fn part_len(&self) -> usize {
        self.shape.window.taps() * self.shape.c_in * self.width + self.shape.c_out
    }

    /// Floats of a line of the input, of one way of pairing.
    pub fn x_line(&self) -> usize {
        self.entries * self.shape.c_in
    }

    /// Floats of a line of the output.
    pub fn d_line(&self) -> usize {
        self.out_entries * self.shape.groups * self.width
    }

    /// Cuts lines of outputs so that what a block reads stays in cache.
    pub fn blocks(&self, lines: Range<usize>) -> impl Iterator<Item = Block> {
        let (window, [out_h, _]) = (self.shape.window, self.out_size);
        let floats = self.x_line() * self.firsts.len() * window.stride[0] + self.d_line();
        let most = (BLOCK / floats.max(1)).max(1);
        let h = self.images.h;
        let mut at = lines.start;
        std::iter::from_fn(move || {
            if at >= lines.end {
                return None;
            }
            let (image, y) = (at / out_h, at % out_h);
            let whole = if y == 0 { (lines.end - at).min(most) / out_h } else { 0 };
            let (images, own) = if whole > 0 {
                (image..image + whole, 0..out_h)
            } else {
                (image..image + 1, y..out_h.min(y + most.min(lines.end - at)))
            };
            at += images.len() * own.len();
            let reach = (window.kernel[0] - 1) * window.dilation[0] + 1;
            let end = ((own.end - 1) * window.stride[0] + reach).saturating_sub(window.pads[0]).min(h);
            let start = (own.start * window.stride[0]).saturating_sub(window.pads[0]).min(end);
            Some(Block { images, lines: own, rows: start..end })
        })
    }
}
