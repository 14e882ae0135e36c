//! Windows of images as rows of a product: where each begins, in the image or in a padded copy of a part of it.

use crate::conv::{Images, Window};
use crate::qgemm::driver::ByteRows;
use crate::threads::Threads;
use std::ops::Range;

/// The pixels of one group of channels.
pub(super) struct Pixels<'a> {
    pub input: &'a [u8],
    pub images: Images,
    pub window: Window,
    /// Height and width of the output.
    pub out_size: [usize; 2],
    /// Channels from one pixel to the next.
    pub c_in: usize,
    /// Channels of this group.
    pub channels: Range<usize>,
    /// What lies outside of the image.
    pub pad: u8,
}

/// Length of the runs of a window's bytes: a row of taps where these lie side by side, else one tap.
pub(super) fn segment(window: &Window, groups: usize, channels: usize) -> usize {
    if window.dilation[1] == 1 && groups == 1 { window.kernel[1] * channels } else { channels }
}

/// The images with their pads around them, so that the groups of a convolution read windows where they are.
pub(super) fn padded(
    threads: &Threads,
    input: &[u8],
    images: &mut Images,
    window: &mut Window,
    c_in: usize,
    pad: u8,
) -> Vec<u8> {
    let Images { h, w, .. } = *images;
    let [top, left, bottom, right] = std::mem::take(&mut window.pads);
    let (padded_h, padded_w) = (top + h + bottom, left + w + right);
    *images = Images { n: images.n, h: padded_h, w: padded_w };
    let mut to = vec![pad; images.n * padded_h * padded_w * c_in];
    threads.run_chunks(&mut to, padded_w * c_in, |row, to| {
        if let Some(y) = (row % padded_h).checked_sub(top).filter(|&y| y < h) {
            let from = &input[(row / padded_h * h + y) * w * c_in..][..w * c_in];
            to[left * c_in..][..w * c_in].copy_from_slice(from);
        }
    });
    to
}

impl Pixels<'_> {
    /// `[taps of a run, taps a row]`.
    fn taps(&self) -> [usize; 2] {
        let row = self.window.kernel[1];
        let groups = if self.channels.len() == self.c_in { 1 } else { 2 };
        [segment(&self.window, groups, 1), row]
    }

    /// True if all windows lie inside of the image and no run ends within a group of four.
    fn is_in_place(&self) -> bool {
        self.window.pads == [0; 4] && (self.taps()[0] * self.channels.len()).is_multiple_of(4)
    }

    /// Bytes from a pixel and from a row to the next, where windows are read.
    fn pitches(&self) -> [usize; 2] {
        let [_, left, _, right] = self.window.pads;
        if self.is_in_place() {
            [self.c_in, self.images.w * self.c_in]
        } else {
            [self.channels.len(), (left + self.images.w + right) * self.channels.len()]
        }
    }

    /// Copies rows `ys` of the padded image.
    fn copy_padded(&self, image: usize, ys: Range<usize>, to: &mut Vec<u8>) {
        let Images { h, w, .. } = self.images;
        let [top, left, _, right] = self.window.pads;
        let n_channels = self.channels.len();
        for y in ys {
            let Some(y) = y.checked_sub(top).filter(|&y| y < h) else {
                to.resize(to.len() + (left + w + right) * n_channels, self.pad);
                continue;
            };
            to.resize(to.len() + left * n_channels, self.pad);
            let row = &self.input[(image * h + y) * w * self.c_in..][..w * self.c_in];
            if n_channels == self.c_in {
                to.extend_from_slice(row);
            } else {
                row.chunks_exact(self.c_in).for_each(|pixel| to.extend_from_slice(&pixel[self.channels.clone()]));
            }
            to.resize(to.len() + right * n_channels, self.pad);
        }
    }
}

impl ByteRows for Pixels<'_> {
    fn row_bytes(&self) -> usize {
        self.channels.len() * self.window.stride[0] * self.window.stride[1]
    }

    fn runs(&self) -> impl Iterator<Item = usize> {
        let [pixel, row] = self.pitches();
        let [run, taps] = self.taps();
        let [down, right] = self.window.dilation;
        let n_rows = if self.channels.is_empty() { 0 } else { self.window.kernel[0] };
        (0..n_rows).flat_map(move |y| (0..taps).step_by(run).map(move |x| y * down * row + x * right * pixel))
    }

    fn locate(&self, rows: Range<usize>, copy: &mut Vec<u8>, pointers: &mut Vec<*const u8>) {
        let [out_h, out_w] = self.out_size;
        let [down, right] = self.window.stride;
        let [pixel, row_pitch] = self.pitches();
        let covered = (self.window.kernel[0] - 1) * self.window.dilation[0] + 1;
        // Lines of output, all images one below the other.
        let lines = rows.start / out_w..rows.end.div_ceil(out_w);
        let part_of = |image: usize| {
            let line = |line: usize| line.clamp(image * out_h, (image + 1) * out_h) - image * out_h;
            line(lines.start)..line(lines.end)
        };
        let images = lines.start / out_h..lines.end.div_ceil(out_h);
        let is_in_place = self.is_in_place();
        if !is_in_place {
            for image in images.clone() {
                let ys = part_of(image);
                self.copy_padded(image, ys.start * down..(ys.end - 1) * down + covered, copy);
            }
            // Runs are read in groups of four.
            copy.resize(copy.len() + 3, 0);
        }
        let mut first = if is_in_place { self.input.as_ptr() } else { copy.as_ptr() };
        for image in images {
            let ys = part_of(image);
            if is_in_place {
                let at = (image * self.images.h + ys.start * down) * row_pitch + self.channels.start;
                first = self.input.as_ptr().wrapping_add(at);
            }
            for y in ys.clone() {
                let line = (image * out_h + y) * out_w;
                let xs = rows.start.max(line) - line..rows.end.min(line + out_w) - line;
                let at = first.wrapping_add((y - ys.start) * down * row_pitch);
                pointers.extend(xs.map(|x| at.wrapping_add(x * right * pixel)));
            }
            first = first.wrapping_add(((ys.end - 1 - ys.start) * down + covered) * row_pitch);
        }
    }
}
