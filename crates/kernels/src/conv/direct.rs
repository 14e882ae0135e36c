//! Convolutions by windows three taps wide into few channels: one vector holds them all, so a broadcast of the input would be used
//! once a tap. Here it is used for the outputs that have it under each of the three.

use super::Images;
use super::shape::Window;
use crate::activation::Epilogue;
use crate::gemm::tile::{LINE, Terms, prefetch};
use crate::gemm::{Kernel, pointer};
use crate::simd::{Lanes, unrolled};
use crate::threads::{Shareable, Threads};

/// Some outputs side by side.
pub(crate) struct Strip<'a> {
    /// For every row of taps inside of the image: the pixels under the first output's first tap, under its second (the others
    /// follow), under the last output's last; the weights of the row, `[3, channels, vector]`; and what to fetch on the way, a
    /// cache line a channel, which need not be valid.
    pub rows: &'a [[*const f32; 5]],
    pub channels: usize,
    /// `[outputs, n_cols]`
    pub out: *mut f32,
    pub n_cols: usize,
    /// `n_cols` floats or null.
    pub bias: *const f32,
    /// Laid out as `out`, or null.
    pub residual: *const f32,
    pub clamp: (f32, f32),
}

/// # Safety
/// The pointers are valid as [`Strip`] says for `R` outputs, `n_cols <= V::N`; as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn strip<V: Lanes, T: Terms<V>, const R: usize>(strip: &Strip<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [V::splat(0.0); R];
        for &[mut left, mut x, mut right, mut weight, mut next] in strip.rows {
            for _ in 0..strip.channels {
                prefetch(next);
                next = next.wrapping_add(LINE);
                let w0 = V::load(weight);
                let w1 = V::load(weight.add(strip.channels * V::N));
                let w2 = V::load(weight.add(2 * strip.channels * V::N));
                sums[0] = T::add(V::splat(*left), w0, sums[0]);
                unrolled!(R, |i| {
                    let value = V::splat(*x.add(i * strip.channels));
                    if i + 1 < R {
                        sums[i + 1] = T::add(value, w0, sums[i + 1]);
                    }
                    sums[i] = T::add(value, w1, sums[i]);
                    if i > 0 {
                        sums[i - 1] = T::add(value, w2, sums[i - 1]);
                    }
                });
                sums[R - 1] = T::add(V::splat(*right), w2, sums[R - 1]);
                (left, x, right) = (left.wrapping_add(1), x.wrapping_add(1), right.wrapping_add(1));
                weight = weight.wrapping_add(V::N);
            }
        }
        let n = strip.n_cols;
        let bias = if strip.bias.is_null() { V::splat(0.0) } else { V::load_first(strip.bias, n) };
        let (min, max) = (V::splat(strip.clamp.0), V::splat(strip.clamp.1));
        unrolled!(R, |i| {
            let mut sum = sums[i].add(bias);
            if !strip.residual.is_null() {
                sum = sum.add(V::load_first(strip.residual.add(i * n), n));
            }
            sum.at_least(min).at_most(max).store_first(strip.out.add(i * n), n);
        });
    }
}

/// A convolution of one group that [`Self::fits`].
pub(crate) struct Direct<'a> {
    pub kernel: &'static Kernel,
    pub threads: &'a Threads,
    pub input: &'a [f32],
    pub images: Images,
    pub channels: usize,
    pub window: Window,
    /// Pixels that the first window begins above and left of the image.
    pub pads: [i64; 2],
    pub out_size: [usize; 2],
    pub n: usize,
    /// One panel.
    pub b: &'a [f32],
    pub epilogue: &'a Epilogue<'a>,
}

/// What lies beside a line.
static ZEROS: [f32; 1024] = [0.0; 1024];
/// Lines of an image between what is computed and what is fetched.
const AHEAD: usize = 6;
/// Multiply-adds worth a task of their own.
const TASK_WORK: usize = 1 << 18;
/// Rows of taps, at most.
const ROWS: usize = 8;

/// Columns of the one panel, as it is packed.
fn half_panel(kernel: &Kernel) -> usize {
    kernel.panel / 2
}

impl Direct<'_> {
    /// At most one pixel lies outside of the image at either end of a line.
    pub fn fits(&self) -> bool {
        let window = &self.window;
        let right = (self.out_size[1] + 1) as i64 - self.pads[1] - self.images.w as i64;
        !self.kernel.direct.is_empty()
            && self.n * 2 <= self.kernel.panel
            && self.channels <= ZEROS.len()
            && window.kernel[1] == 3
            && window.kernel[0] <= ROWS
            && window.stride == [1, 1]
            && window.dilation[1] == 1
            && (0..=1).contains(&self.pads[1])
            && right <= 0
    }

    /// # Safety
    /// It fits; `out` has room for all outputs and nobody else uses it; the weight is packed for the kernel, which this CPU can
    /// run; the lengths of the epilogue fit.
    pub unsafe fn run(&self, out: Shareable<f32>) {
        let [out_h, out_w] = self.out_size;
        let lines = self.images.n * out_h;
        let work = (lines * out_w).saturating_mul(self.window.taps() * self.channels * half_panel(self.kernel));
        let tasks = (work / TASK_WORK).clamp(1, 8 * self.threads.count());
        let band = lines.div_ceil(tasks);
        let residual = self.epilogue.residual;
        self.threads.run(lines.div_ceil(band.max(1)), |task| {
            for line in task * band..lines.min((task + 1) * band) {
                // SAFETY: the caller's; lines are disjoint.
                unsafe { self.line(line, self.kernel.element(out.at(0), line * out_w * self.n), residual) };
            }
        });
    }

    /// # Safety
    /// As [`Self::run`], for one line.
    unsafe fn line(&self, line: usize, out: *mut f32, residual: Option<&[f32]>) {
        let [out_h, out_w] = self.out_size;
        let (h, w, c) = (self.images.h, self.images.w, self.channels);
        let half = half_panel(self.kernel);
        let residual = pointer(residual).cast_mut();
        let at_line = if residual.is_null() { 0 } else { line * out_w * self.n };
        let residual = self.kernel.element(residual, at_line).cast_const();
        let mut x = 0;
        while x < out_w {
            let &(count, run) =
                self.kernel.direct.iter().find(|(count, _)| *count <= out_w - x).unwrap_or(&self.kernel.direct[0]);
            let mut rows = [[std::ptr::null(); 5]; ROWS];
            let mut n_rows = 0;
            // The pixel under the second tap of the first output is inside of the line.
            let first = (x as i64 - self.pads[1] + 1) as usize;
            for tap in 0..self.window.kernel[0] {
                let y = (line % out_h + tap * self.window.dilation[0]) as i64 - self.pads[0];
                if !(0..h as i64).contains(&y) {
                    continue;
                }
                let from = self.input.as_ptr().wrapping_add(((line / out_h * h + y as usize) * w + first) * c);
                rows[n_rows] = [
                    if first > 0 { from.wrapping_sub(c) } else { ZEROS.as_ptr() },
                    from,
                    if first + count < w { from.wrapping_add(count * c) } else { ZEROS.as_ptr() },
                    self.b.as_ptr().wrapping_add(tap * 3 * c * half),
                    match n_rows {
                        0 => from.wrapping_add(AHEAD * w * c),
                        1 => self.kernel.element(out, (x + AHEAD * out_w) * self.n),
                        _ => from,
                    },
                ];
                n_rows += 1;
            }
            // SAFETY: the caller's; as many outputs remain, and their pixels are inside of the line or zeros.
            unsafe {
                let at = x * self.n;
                let strip = Strip {
                    rows: &rows[..n_rows],
                    channels: c,
                    out: self.kernel.element(out, at),
                    n_cols: self.n,
                    bias: pointer(self.epilogue.bias),
                    residual: self.kernel.element(residual.cast_mut(), if residual.is_null() { 0 } else { at }),
                    clamp: self.epilogue.activation.clamp(),
                };
                run(&strip);
            }
            x += count;
        }
        if self.epilogue.activation.is_curve() {
            // SAFETY: this line is ours, and where there is a curve it is f32.
            self.epilogue.activation.apply(unsafe { std::slice::from_raw_parts_mut(out, out_w * self.n) });
        }
    }
}
