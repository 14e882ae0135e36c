//! Rows of the implicit matrix of a convolution, read where they are: each tap of an output pixel is a pointer into the
//! image, or to zeros where it lies outside.

use super::shape::{Images, Window};
use crate::gemm::Kernel;
use crate::gemm::driver::{Copies, Rows, Tiles};
use crate::gemm::tile::{K_BLOCK, Run, SLOTS};
use std::ops::Range;

/// What padding points to: the longest run of one block.
static ZEROS: [f32; K_BLOCK] = [0.0; K_BLOCK];
/// Fewer channels than this are read a whole row of taps at a time.
const FEW_CHANNELS: usize = 16;

/// Addresses in the largest vector.
const LANES: usize = 8;

/// The windows of one group of channels, as rows of `taps · channels` floats.
pub(crate) struct Windows<'a> {
    input: &'a [f32],
    images: Images,
    window: Window,
    /// Pixels that the first window begins above and left of the image; fewer than 0 if it begins inside.
    pads: [i64; 2],
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
        let pads = [window.pads[0] as i64, window.pads[1] as i64];
        Self { input, images, window, pads, out_size, c_in, first: channels.start, run_len, run_taps }
    }

    /// With the first window elsewhere than the window's own pads say.
    pub fn with_pads(self, pads: [i64; 2]) -> Self {
        Self { pads, ..self }
    }
}

impl Rows for Windows<'_> {
    fn run_len(&self) -> usize {
        self.run_len
    }

    fn is_copied(&self) -> bool {
        self.run_taps > 1
    }

    unsafe fn locate(&self, kernel: &Kernel, tiles: &Tiles, ks: Range<usize>, to: &mut [Run], copies: &mut Copies<'_>) {
        // SAFETY: this CPU can run the kernel (the caller's).
        unsafe { (kernel.locate)(self, tiles, ks.clone(), to) };
        if self.run_taps > 1 {
            self.copy_edges(tiles, to, copies);
        }
    }
}

/// Top left corners of the windows of a tile, and their addresses. Corners may lie outside of the image, so everything
/// wraps; windows are so small that nothing else overflows.
struct Corners {
    y: [u64; SLOTS],
    x: [u64; SLOTS],
    at: [usize; SLOTS],
}

/// The first pixel of a run, seen from the corner, and how many bytes after it the run begins.
struct Tap {
    down: u64,
    right: u64,
    offset: usize,
}

/// An output pixel.
struct Pixel {
    x: usize,
    y: usize,
    image: usize,
}

impl Windows<'_> {
    fn pixel(&self, index: usize) -> Pixel {
        let [out_h, out_w] = self.out_size;
        Pixel { x: index % out_w, y: index / out_w % out_h, image: index / out_w / out_h }
    }

    /// Corners of `count` windows from `pixel` on, which moves past them.
    #[inline(always)]
    fn corners(&self, pixel: &mut Pixel, count: usize, corners: &mut Corners) {
        let ([stride_y, stride_x], [pad_y, pad_x]) = (self.window.stride, self.pads.map(|pad| pad as usize));
        let input = self.input.as_ptr().expose_provenance().wrapping_add(self.first * 4);
        let step = stride_x * self.c_in * 4;
        let mut slot = 0;
        while slot < count.min(SLOTS) {
            // Outputs of one row.
            let end = count.min(SLOTS).min(slot + self.out_size[1] - pixel.x);
            let top = (pixel.y * stride_y).wrapping_sub(pad_y);
            let mut left = (pixel.x * stride_x).wrapping_sub(pad_x);
            let at = (pixel.image * self.images.h).wrapping_add(top).wrapping_mul(self.images.w).wrapping_add(left);
            let mut at = input.wrapping_add(at.wrapping_mul(self.c_in * 4));
            pixel.x += end - slot;
            for slot in slot..end {
                corners.y[slot] = top as u64;
                corners.x[slot] = left as u64;
                corners.at[slot] = at;
                left = left.wrapping_add(stride_x);
                at = at.wrapping_add(step);
            }
            slot = end;
            if pixel.x == self.out_size[1] {
                (pixel.x, pixel.y) = (0, pixel.y + 1);
            }
            if pixel.y == self.out_size[0] {
                (pixel.y, pixel.image) = (0, pixel.image + 1);
            }
        }
        // Rows of taps that reach over an edge are copied later.
        if self.run_taps > 1 {
            corners.x = [0; SLOTS];
        }
    }

    fn taps(&self, ks: Range<usize>, n_runs: usize) -> Vec<Tap> {
        let runs_a_row = self.window.kernel[1] / self.run_taps;
        let first = ks.start / self.run_len.max(1);
        let skip = ks.start - first * self.run_len;
        let tap = |run: usize| {
            let down = run / runs_a_row * self.window.dilation[0];
            let right = run % runs_a_row * self.window.dilation[1];
            let offset = ((down * self.images.w + right) * self.c_in + skip) * 4;
            Tap { down: down as u64, right: right as u64, offset }
        };
        (first..first + n_runs).map(tap).collect()
    }

    /// Fills `to` for runs of one tap; for runs of a row of taps as if the image were wide enough.
    #[inline(always)]
    pub fn locate(&self, tiles: &Tiles, ks: Range<usize>, to: &mut [Run]) {
        let n_runs = to.len() / tiles.range.len().max(1);
        let taps = self.taps(ks, n_runs);
        let (h, w) = (self.images.h as u64, self.images.w as u64);
        let zeros = ZEROS.as_ptr().expose_provenance();
        let mut pixel = self.pixel(tiles.rows(tiles.range.start).start);
        let mut corners = Corners { y: [0; SLOTS], x: [0; SLOTS], at: [0; SLOTS] };
        for (tile, to) in tiles.range.clone().zip(to.chunks_exact_mut(n_runs.max(1))) {
            let count = tiles.rows(tile).len();
            self.corners(&mut pixel, count, &mut corners);
            for (run, tap) in to.iter_mut().zip(&taps) {
                for (chunk, to) in run.as_chunks_mut::<LANES>().0.iter_mut().take(count.div_ceil(LANES)).enumerate() {
                    // Addresses, because the compiler does not turn arithmetic of pointers into vectors.
                    for (lane, to) in to.iter_mut().enumerate() {
                        let slot = chunk * LANES + lane;
                        let is_inside = (corners.y[slot].wrapping_add(tap.down) < h)
                            & (corners.x[slot].wrapping_add(tap.right) < w);
                        let address = corners.at[slot].wrapping_add(tap.offset);
                        *to = std::ptr::with_exposed_provenance(if is_inside { address } else { zeros });
                    }
                }
            }
        }
    }

    /// Outputs of a line whose taps all fall inside of the image.
    fn interior(&self) -> Range<usize> {
        let (pad, out_w, stride) = (self.pads[1], self.out_size[1], self.window.stride[1]);
        let first = (pad.max(0) as usize).div_ceil(stride).min(out_w);
        let covered = (self.window.kernel[1] - 1) * self.window.dilation[1] + 1;
        let room = self.images.w as i64 + pad - covered as i64;
        let end = if room < 0 { 0 } else { room as usize / stride + 1 };
        first..end.clamp(first, out_w)
    }

    /// Copies the rows of taps that reach over the left or right edge, with zeros outside.
    fn copy_edges(&self, tiles: &Tiles, to: &mut [Run], copies: &mut Copies<'_>) {
        let out_w = self.out_size[1];
        let n_runs = to.len() / tiles.range.len().max(1);
        let interior = self.interior();
        for (tile, to) in tiles.range.clone().zip(to.chunks_exact_mut(n_runs.max(1))) {
            let rows = tiles.rows(tile);
            for line in (rows.start - rows.start % out_w..rows.end).step_by(out_w) {
                for x in (0..interior.start).chain(interior.end..out_w) {
                    if !rows.contains(&(line + x)) {
                        continue;
                    }
                    let left = (x * self.window.stride[1]) as i64 - self.pads[1];
                    let slot = line + x - rows.start;
                    for run in to.iter_mut().filter(|run| !std::ptr::eq(run[slot], ZEROS.as_ptr())) {
                        run[slot] = self.copy_edge(run[slot], left, copies);
                    }
                }
            }
        }
    }

    /// A copy of the row of taps at `from`, whose first column is `left`.
    fn copy_edge(&self, from: *const f32, left: i64, copies: &mut Copies<'_>) -> *const f32 {
        let taps = self.run_taps as i64;
        let first = (-left).clamp(0, taps) as usize * self.c_in;
        let end = (self.images.w as i64 - left).clamp(0, taps) as usize * self.c_in;
        let copy = copies.take(self.run_len);
        copy.fill(0.0);
        if first < end {
            // SAFETY: this row of taps is inside of the image vertically, and from `first` to `end` horizontally.
            let from = unsafe { std::slice::from_raw_parts(from.wrapping_add(first), end - first) };
            copy[first..end].copy_from_slice(from);
        }
        copy.as_ptr()
    }
}
