//! One integer filter a channel, four taps at once: the rows under a window are interleaved, so that the four bytes of a
//! word belong to one column and channel, and one `vpdpbusd` a column sums four rows.

use super::aligned::AlignedBytes;
use super::finish::Finish;
use crate::conv::Window;
use std::ops::Range;

/// Channels of a block.
pub(crate) const BLOCK: usize = 64;

/// Weights as the loops read them.
#[derive(Clone)]
pub(crate) struct PackedColumns {
    /// Lines of output that one interleaving of rows serves.
    pub lines: usize,
    /// Groups of four rows under these lines.
    pub n_quads: usize,
    /// Blocks of channels, each `[line][quad][kernel width][channels of the block, a multiple of 16][4 rows]`.
    pub data: AlignedBytes,
    /// Sum of each channel's weights.
    pub sums: Vec<i32>,
}

impl PackedColumns {
    /// Packs `weight`, `[taps, channels]` without zero points; `None` if a weight does not fit.
    pub fn new(window: &Window, weight: &[i16], channels: usize) -> Option<Self> {
        let [kernel_h, kernel_w] = window.kernel;
        let n_quads = kernel_h.div_ceil(4);
        // Lines below each other share their rows; the weights move down in the group instead.
        let lines = if window.stride[0] == 1 && window.dilation[0] == 1 { 4 * n_quads - kernel_h + 1 } else { 1 };
        let padded = channels.next_multiple_of(16);
        let mut data = AlignedBytes::zeros(lines * n_quads * kernel_w * padded * 4);
        let mut sums = vec![0i32; channels];
        for (i, &value) in weight.iter().enumerate() {
            let value = i8::try_from(value).ok()?;
            let (channel, tap) = (i % channels, i / channels);
            sums[channel] += i32::from(value);
            let first = channel / BLOCK * BLOCK;
            let width = (padded - first).min(BLOCK);
            for line in 0..lines {
                let row = tap / kernel_w + line;
                let column = (line * n_quads + row / 4) * kernel_w + tap % kernel_w;
                let at = lines * n_quads * kernel_w * first + column * width + channel - first;
                data[at * 4 + row % 4] = value;
            }
        }
        Some(Self { lines, n_quads, data, sums })
    }

    /// The block that begins at channel `first`.
    pub fn block(&self, first: usize, kernel_w: usize) -> &[i8] {
        &self.data[self.lines * self.n_quads * kernel_w * first * 4..]
    }
}

/// Some rows of output of one image, in one block of channels.
pub(crate) struct Strip<'a> {
    pub window: Window,
    pub h: usize,
    pub w: usize,
    pub channels: usize,
    pub out_w: usize,
    /// The image, `[h, w, channels]`, raw bytes; `^ flip` makes them unsigned.
    pub image: &'a [u8],
    pub flip: u8,
    /// Raw, what lies outside of the image.
    pub pad: u8,
    pub packed: &'a PackedColumns,
    /// First channel and number of channels.
    pub first: usize,
    pub n: usize,
    pub ys: Range<usize>,
    /// At the first output of the image and the first channel of the block.
    pub finish: Finish,
}

impl Strip<'_> {
    /// Bytes of scratch that a strip needs.
    pub fn scratch_bytes(&self) -> usize {
        let [_, left, _, right] = self.window.pads;
        self.packed.n_quads * (left + self.w + right) * self.n.next_multiple_of(16) * 4
    }
}
