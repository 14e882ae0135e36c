//! Rows of the implicit matrix of a convolution, read where they are: each tap of an output pixel is a pointer into the
//! image, or to zeros where it lies outside.

use super::shape::{Images, Window};
use crate::gemm::Kernel;
use crate::gemm::driver::{Copies, Rows};
use crate::gemm::tile::{K_BLOCK, Run, SLOTS};
use std::ops::Range;

/// What padding points to: the longest run of one block.
static ZEROS: [f32; K_BLOCK] = [0.0; K_BLOCK];
/// Fewer channels than this are read a whole row of taps at a time.
const FEW_CHANNELS: usize = 16;

/// The windows of one group of channels, as rows of `taps · channels` floats.
pub(crate) struct Windows<'a> {
    input: &'a [f32],
    images: Images,
    window: Window,
    out_size: [usize; 2],
    /// Channels from one pixel to the next.
    c_in: usize,
    /// First channel of this group.
    first: usize,
    run_len: usize,
    /// Taps of a run: 1, or a row of them, which lie side by side in the image.
    run_taps: usize,
}

impl<'a> Windows<'a> {
    pub fn new(
        input: &'a [f32],
        images: Images,
        window: Window,
        out_size: [usize; 2],
        c_in: usize,
        channels: Range<usize>,
    ) -> Self {
        let is_row = window.dilation[1] == 1
            && channels.len() == c_in
            && c_in < FEW_CHANNELS
            && window.kernel[1] * c_in <= K_BLOCK;
        let run_taps = if is_row { window.kernel[1] } else { 1 };
        let run_len = run_taps * channels.len();
        Self { input, images, window, out_size, c_in, first: channels.start, run_len, run_taps }
    }
}

impl Rows for Windows<'_> {
    fn run_len(&self) -> usize {
        self.run_len
    }

    fn is_copied(&self) -> bool {
        self.run_taps > 1
    }

    unsafe fn locate(
        &self,
        kernel: &Kernel,
        rows: Range<usize>,
        ks: Range<usize>,
        to: &mut [Run],
        copies: &mut Copies<'_>,
    ) {
        // SAFETY: the caller's.
        unsafe { (kernel.locate)(self, rows.clone(), ks.clone(), to) };
        if self.run_taps > 1 {
            self.copy_edges(rows, ks, to, copies);
        }
    }
}

/// Top left corners of the windows of a tile, and where they are.
struct Corners {
    y: [i64; SLOTS],
    x: [i64; SLOTS],
    at: Run,
}

impl Windows<'_> {
    #[inline(always)]
    fn corners(&self, rows: Range<usize>) -> Corners {
        let ([out_h, out_w], Images { h, w, .. }) = (self.out_size, self.images);
        let (mut x, mut y, mut image) = (rows.start % out_w, rows.start / out_w % out_h, rows.start / out_w / out_h);
        let mut corners = Corners { y: [0; SLOTS], x: [0; SLOTS], at: [self.input.as_ptr(); SLOTS] };
        for slot in 0..rows.len().min(SLOTS) {
            let top = (y * self.window.stride[0]) as i64 - self.window.pads[0] as i64;
            let left = (x * self.window.stride[1]) as i64 - self.window.pads[1] as i64;
            let pixel = ((image * h) as i64 + top) * w as i64 + left;
            corners.y[slot] = top;
            corners.x[slot] = left;
            let offset = pixel * self.c_in as i64 + self.first as i64;
            corners.at[slot] = self.input.as_ptr().wrapping_offset(offset as isize);
            x += 1;
            if x == out_w {
                (x, y) = (0, y + 1);
                if y == out_h {
                    (y, image) = (0, image + 1);
                }
            }
        }
        corners
    }

    /// Fills `to` for runs of one tap; for runs of a row of taps as if the image were wide enough.
    #[inline(always)]
    pub fn locate(&self, rows: Range<usize>, ks: Range<usize>, to: &mut [Run]) {
        let corners = self.corners(rows);
        let runs_a_row = self.window.kernel[1] / self.run_taps;
        let first_run = ks.start / self.run_len.max(1);
        let skip = ks.start - first_run * self.run_len;
        let (h, w) = (self.images.h as u64, self.images.w as u64);
        let (mut tap_y, mut tap_x) = (first_run / runs_a_row, first_run % runs_a_row);
        for run in to {
            let (down, right) = (tap_y * self.window.dilation[0], tap_x * self.window.dilation[1]);
            let offset = (down * self.images.w + right) * self.c_in + skip;
            for slot in 0..SLOTS {
                let is_inside = ((corners.y[slot] + down as i64) as u64) < h
                    && (self.run_taps > 1 || ((corners.x[slot] + right as i64) as u64) < w);
                run[slot] = if is_inside { corners.at[slot].wrapping_add(offset) } else { ZEROS.as_ptr() };
            }
            tap_x += 1;
            if tap_x == runs_a_row {
                (tap_x, tap_y) = (0, tap_y + 1);
            }
        }
    }

    /// Copies the rows of taps that reach over the left or right edge, with zeros outside.
    #[cold]
    fn copy_edge(&self, run: &mut *const f32, left: i64, copies: &mut Copies<'_>) {
        let n_channels = self.c_in;
        let first = (-left).clamp(0, self.run_taps as i64) as usize * n_channels;
        let end = (self.images.w as i64 - left).clamp(0, self.run_taps as i64) as usize * n_channels;
        let copy = copies.take(self.run_len);
        copy.fill(0.0);
        if first < end {
            // SAFETY: this row of taps is inside of the image vertically, and from `first` to `end` horizontally.
            let from = unsafe { std::slice::from_raw_parts(run.wrapping_add(first), end - first) };
            copy[first..end].copy_from_slice(from);
        }
        *run = copy.as_ptr();
    }

    fn copy_edges(&self, rows: Range<usize>, _ks: Range<usize>, to: &mut [Run], copies: &mut Copies<'_>) {
        let out_w = self.out_size[1];
        let mut x = rows.start % out_w;
        for slot in 0..rows.len() {
            let left = (x * self.window.stride[1]) as i64 - self.window.pads[1] as i64;
            if left < 0 || left + self.run_taps as i64 > self.images.w as i64 {
                for run in to.iter_mut().filter(|run| !std::ptr::eq(run[slot], ZEROS.as_ptr())) {
                    self.copy_edge(&mut run[slot], left, copies);
                }
            }
            x = if x + 1 == out_w { 0 } else { x + 1 };
        }
    }
}
