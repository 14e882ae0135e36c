//! One filter a channel, vectorised over channels; written once for all instruction sets.

use super::shape::Window;
use crate::simd::Lanes;

/// One row of outputs of one image.
pub(crate) struct Row<'a> {
    pub window: Window,
    pub h: usize,
    pub w: usize,
    pub channels: usize,
    pub out_w: usize,
    /// The image, `[h, w, channels]`.
    pub image: &'a [f32],
    /// `[taps, channels]`.
    pub weight: &'a [f32],
    /// Which row of outputs.
    pub y: usize,
    /// `[out_w, channels]`.
    pub out: *mut f32,
    /// `[channels]` or null.
    pub bias: *const f32,
    /// Laid out as `out`, or null.
    pub residual: *const f32,
    pub clamp: (f32, f32),
}

/// Outputs side by side that share each load of a weight.
const BLOCK: usize = 8;

/// # Safety
/// The pointers of `row` are valid as it says, its window gives `out_w` outputs and more than `y` rows; as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn row<V: Lanes>(row: &Row<'_>) {
    let interior = row.window.interior(row.w, row.out_w);
    let mut x = 0;
    // All channels of a few outputs before the next: their pixels are adjacent, so they share cache lines and pages.
    while x < row.out_w {
        let room = if interior.contains(&x) { interior.end - x } else { 1 };
        // SAFETY: the caller's; these outputs have all their taps inside, or there is one.
        x += unsafe {
            match room {
                BLOCK.. => channels::<V, BLOCK>(row, x),
                4.. => channels::<V, 4>(row, x),
                2.. => channels::<V, 2>(row, x),
                _ => channels::<V, 1>(row, x),
            }
        };
    }
}

/// All channels of outputs `x .. x + WIDTH`; returns `WIDTH`.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn channels<V: Lanes, const WIDTH: usize>(row: &Row<'_>, x: usize) -> usize {
    let whole = row.channels - row.channels % V::N;
    // SAFETY: the caller's; whole vectors, then the rest.
    unsafe {
        for start in (0..whole).step_by(V::N) {
            block::<V, true, WIDTH>(row, start, V::N, x);
        }
        if whole < row.channels {
            block::<V, false, WIDTH>(row, whole, row.channels - whole, x);
        }
    }
    WIDTH
}

/// Outputs `x .. x + WIDTH`; more than one only if all their taps are inside.
///
/// # Safety
/// As [`row`].
#[inline(always)]
unsafe fn block<V: Lanes, const WHOLE: bool, const WIDTH: usize>(row: &Row<'_>, start: usize, lanes: usize, x: usize) {
    let window = &row.window;
    let stride = window.stride[1] * row.channels;
    let taps_x = if WIDTH == 1 { window.inside(1, x, row.w) } else { 0..window.kernel[1] };
    // SAFETY: taps inside of the image only; the rest is the caller's.
    unsafe {
        let bias = if row.bias.is_null() { V::splat(0.0) } else { load::<V, WHOLE>(row.bias.add(start), lanes) };
        let mut sums = [V::splat(0.0); WIDTH];
        for tap_y in window.inside(0, row.y, row.h) {
            let y = row.y * window.stride[0] + tap_y * window.dilation[0] - window.pads[0];
            let line = row.image.as_ptr().add(y * row.w * row.channels + start);
            let weights = row.weight.as_ptr().add(tap_y * window.kernel[1] * row.channels + start);
            for tap_x in taps_x.clone() {
                let weight = load::<V, WHOLE>(weights.add(tap_x * row.channels), lanes);
                let left = (x * window.stride[1] + tap_x * window.dilation[1] - window.pads[1]) * row.channels;
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = load::<V, WHOLE>(line.add(left + i * stride), lanes).mul_add(weight, *sum);
                }
            }
        }
        let (min, max) = (V::splat(row.clamp.0), V::splat(row.clamp.1));
        for (i, &sum) in sums.iter().enumerate() {
            let at = (x + i) * row.channels + start;
            let mut sum = sum.add(bias);
            if !row.residual.is_null() {
                sum = sum.add(load::<V, WHOLE>(row.residual.add(at), lanes));
            }
            let sum = sum.at_least(min).at_most(max);
            if WHOLE { sum.store(row.out.add(at)) } else { sum.store_first(row.out.add(at), lanes) }
        }
    }
}

/// # Safety
/// As [`row`].
#[inline(always)]
unsafe fn load<V: Lanes, const WHOLE: bool>(from: *const f32, lanes: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if WHOLE { V::load(from) } else { V::load_first(from, lanes) } }
}
