//! Where the windows of output pixels lie in memory.

use crate::conv::{ConvShape, Images};
use std::ops::Range;

/// The images of a convolution, and how its windows read them.
pub(super) struct Source<'a> {
    /// `[n, h, w, c_in]`, raw bytes; `^ flip` makes them unsigned.
    pub input: &'a [u8],
    pub flip: u8,
    /// Zero point of the unsigned form: what padding holds.
    pub zero: u8,
    pub images: Images,
    /// Height and width of the output.
    pub out_size: [usize; 2],
    pub shape: ConvShape,
}

/// Images as an inner loop may read them: padded, unsigned, with bytes to spare after the end.
pub(super) struct Padded {
    /// First byte of row `first_row`.
    start: *const u8,
    /// First row that is there, counted through the padded rows of all images.
    first_row: usize,
    /// Rows from one image to the next.
    image_rows: usize,
    /// Bytes from one row to the next.
    row_bytes: usize,
}

/// Bytes of input copied for one task.
pub(super) const MAX_COPY: usize = 256 << 10;
/// Bytes after the end of a copy that may be read.
const SPARE: usize = 64;

/// Runs of adjacent bytes that make up a window, and how long each is. Taps side by side are adjacent, unless pixels
/// between them are left out.
pub(super) fn runs(shape: &ConvShape) -> [usize; 2] {
    let window = &shape.window;
    let taps = if window.dilation[1] == 1 { window.kernel[1] } else { 1 };
    [window.taps() / taps, taps * shape.c_in]
}

impl Source<'_> {
    /// True if the windows can be read from the input itself in parts of `window` bytes that never reach past a run of
    /// `run` bytes.
    pub fn is_direct(&self, run: usize, window: usize) -> bool {
        self.flip == 0 && self.shape.window.pads == [0; 4] && run >= window
    }

    /// Rows of one image with its padding.
    fn image_rows(&self) -> usize {
        let [top, _, bottom, _] = self.shape.window.pads;
        self.images.h + top + bottom
    }

    /// Bytes of one row with its padding.
    fn row_bytes(&self) -> usize {
        let [_, left, _, right] = self.shape.window.pads;
        (self.images.w + left + right) * self.shape.c_in
    }

    /// Bytes of all images, with padding.
    pub fn len(&self) -> usize {
        self.images.n * self.image_rows() * self.row_bytes()
    }

    /// The input itself.
    pub fn direct(&self) -> Padded {
        let row_bytes = self.images.w * self.shape.c_in;
        Padded { start: self.input.as_ptr(), first_row: 0, image_rows: self.images.h, row_bytes }
    }

    /// Copies what the windows of `pixels` need, which are not none, to `to`.
    pub fn copy(&self, pixels: &Range<usize>, to: &mut Vec<u8>) -> Padded {
        let (row_bytes, image_rows) = (self.row_bytes(), self.image_rows());
        let window = &self.shape.window;
        let row_of = |pixel: usize| {
            let [out_h, out_w] = self.out_size;
            pixel / out_w / out_h * image_rows + pixel / out_w % out_h * window.stride[0]
        };
        let first_row = row_of(pixels.start);
        let end_row = row_of(pixels.end - 1) + (window.kernel[0] - 1) * window.dilation[0] + 1;
        to.resize(to.len().max((end_row - first_row) * row_bytes + SPARE), 0);
        for row in first_row..end_row {
            self.copy_row(row, &mut to[(row - first_row) * row_bytes..][..row_bytes]);
        }
        Padded { start: to.as_ptr(), first_row, image_rows, row_bytes }
    }

    fn copy_row(&self, row: usize, to: &mut [u8]) {
        let [top, left, ..] = self.shape.window.pads;
        let (Images { h, w, .. }, c_in) = (self.images, self.shape.c_in);
        let (image, y) = (row / self.image_rows(), row % self.image_rows());
        if y < top || y >= top + h {
            return to.fill(self.zero);
        }
        let line = w * c_in;
        let from = &self.input[(image * h + y - top) * line..][..line];
        let (before, rest) = to.split_at_mut(left * c_in);
        let (inside, after) = rest.split_at_mut(line);
        before.fill(self.zero);
        after.fill(self.zero);
        if self.flip == 0 {
            inside.copy_from_slice(from);
        } else {
            inside.iter_mut().zip(from).for_each(|(to, &from)| *to = from ^ self.flip);
        }
    }

    /// Where each run begins, counted from the begin of a window.
    pub fn run_offsets(&self, padded: &Padded, to: &mut Vec<usize>) {
        let window = &self.shape.window;
        let [n_runs, _] = runs(&self.shape);
        let across = n_runs / window.kernel[0];
        let down_bytes = window.dilation[0] * padded.row_bytes;
        let right_bytes = window.dilation[1] * self.shape.c_in;
        to.clear();
        to.extend((0..n_runs).map(|run| run / across * down_bytes + run % across * right_bytes));
    }

    /// Where the windows of `pixels`, which are not none, begin.
    pub fn windows(&self, padded: &Padded, pixels: Range<usize>, to: &mut Vec<*const u8>) {
        let [out_h, out_w] = self.out_size;
        let [down, right] = self.shape.window.stride;
        let step = right * self.shape.c_in;
        let (mut x, rows) = (pixels.start % out_w, pixels.start / out_w);
        let (mut y, mut image) = (rows % out_h, rows / out_h);
        to.clear();
        let mut left = pixels.len();
        while left > 0 {
            let row = image * padded.image_rows + y * down - padded.first_row;
            let line = padded.start.wrapping_add(row * padded.row_bytes + x * step);
            let n = left.min(out_w - x);
            to.extend((0..n).map(|index| line.wrapping_add(index * step)));
            left -= n;
            (x, y) = (0, y + 1);
            if y == out_h {
                (y, image) = (0, image + 1);
            }
        }
    }
}
