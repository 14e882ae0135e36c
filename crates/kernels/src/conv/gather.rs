//! Rows of the implicit matrix of a convolution: one output pixel's window, tap by tap, channels adjacent.

use super::shape::{Images, Window};
use std::ops::Range;

/// The pixels of one group of channels, as rows of `taps · channels` elements.
pub(crate) struct Pixels<'a, T> {
    pub input: &'a [T],
    pub images: Images,
    pub window: Window,
    /// Height and width of the output.
    pub out_size: [usize; 2],
    /// Channels from one pixel to the next.
    pub c_in: usize,
    /// Channels of this group.
    pub channels: Range<usize>,
    /// What lies outside of the image.
    pub pad: T,
}

impl<T: Copy> Pixels<'_, T> {
    /// Writes columns `ks` of the given rows to `to`, rows `row_stride` apart.
    ///
    /// # Safety
    /// `to` has room for them.
    #[inline(always)]
    pub unsafe fn pack(&self, rows: Range<usize>, ks: Range<usize>, to: *mut T, row_stride: usize) {
        let [out_h, out_w] = self.out_size;
        let mut x = rows.start % out_w;
        let mut y = rows.start / out_w % out_h;
        let mut image = rows.start / out_w / out_h;
        for index in 0..rows.len() {
            // SAFETY: the caller's.
            unsafe { self.pack_row([image, y, x], ks.clone(), to.add(index * row_stride)) };
            x += 1;
            if x == out_w {
                (x, y) = (0, y + 1);
                if y == out_h {
                    (y, image) = (0, image + 1);
                }
            }
        }
    }

    /// # Safety
    /// `to` has room for `ks`.
    #[inline(always)]
    unsafe fn pack_row(&self, [image, y, x]: [usize; 3], ks: Range<usize>, to: *mut T) {
        let [_, kernel_w] = self.window.kernel;
        let n_channels = self.channels.len();
        // Taps of one row of the kernel lie side by side in the image if nothing is left out between them.
        let is_run = self.window.dilation[1] == 1 && n_channels == self.c_in;
        let taps_a_run = if is_run { kernel_w } else { 1 };
        let run = taps_a_run * n_channels;
        let left = (x * self.window.stride[1]) as i64 - self.window.pads[1] as i64;
        let top = (y * self.window.stride[0]) as i64 - self.window.pads[0] as i64;
        let tap = ks.start / run.max(1) * taps_a_run;
        let (mut tap_y, mut tap_x, mut skip) = (tap / kernel_w, tap % kernel_w, ks.start % run.max(1));
        let mut done = 0;
        while done < ks.len() {
            let len = (run - skip).min(ks.len() - done);
            let row = top + (tap_y * self.window.dilation[0]) as i64;
            let col = left + (tap_x * self.window.dilation[1]) as i64;
            // The part of this run that is inside of the image, in elements.
            let (first, end) = if row < 0 || row >= self.images.h as i64 {
                (skip + len, skip + len)
            } else {
                let end = (self.images.w as i64 - col).clamp(0, taps_a_run as i64) as usize * n_channels;
                let first = ((-col).clamp(0, taps_a_run as i64) as usize * n_channels).clamp(skip, skip + len);
                (first, end.clamp(first, skip + len))
            };
            // SAFETY: `to` has room (the caller's); the source is inside the image by the clamps above.
            unsafe {
                fill(to.add(done), first - skip, self.pad);
                if first < end {
                    let pixel = ((image * self.images.h) as i64 + row) * self.images.w as i64 + col;
                    let from = pixel * self.c_in as i64 + (self.channels.start + first) as i64;
                    copy(self.input.as_ptr().offset(from as isize), to.add(done + first - skip), end - first);
                }
                fill(to.add(done + end - skip), skip + len - end, self.pad);
            }
            done += len;
            skip = 0;
            tap_x += taps_a_run;
            if tap_x == kernel_w {
                (tap_x, tap_y) = (0, tap_y + 1);
            }
        }
    }
}

/// # Safety
/// `to` has room for `len`.
#[inline(always)]
unsafe fn fill<T: Copy>(to: *mut T, len: usize, value: T) {
    for i in 0..len {
        // SAFETY: the caller's.
        unsafe { to.add(i).write(value) };
    }
}

/// A copy that is cheap for a few elements too.
///
/// # Safety
/// `len` elements at both, apart.
#[inline(always)]
unsafe fn copy<T: Copy>(from: *const T, to: *mut T, len: usize) {
    const STEP: usize = 16;
    // SAFETY: the caller's; the steps stay below `len`.
    unsafe {
        if len > 8 * STEP {
            return std::ptr::copy_nonoverlapping(from, to, len);
        }
        let mut at = 0;
        while at + STEP <= len {
            to.add(at).cast::<[T; STEP]>().write_unaligned(from.add(at).cast::<[T; STEP]>().read_unaligned());
            at += STEP;
        }
        while at + 4 <= len {
            to.add(at).cast::<[T; 4]>().write_unaligned(from.add(at).cast::<[T; 4]>().read_unaligned());
            at += 4;
        }
        while at < len {
            to.add(at).write(from.add(at).read());
            at += 1;
        }
    }
}
