//! One filter a channel, vectorised over channels; written once for all instruction sets.

use super::shape::Window;
use crate::simd::Lanes;
use std::ops::Range;

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
    /// `[channels]` zeros: what lies beside the image.
    pub zeros: *const f32,
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
/// Pixels in a row under `BLOCK` outputs, at most.
const COLUMNS: usize = (BLOCK - 1) * 2 + 5;
/// Rows of a window that [`known`] takes.
const ROWS: usize = 5;

/// # Safety
/// The pointers of `row` are valid as it says, its window gives `out_w` outputs and more than `y` rows; as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn row<V: Lanes>(row: &Row<'_>) {
    let window = &row.window;
    // SAFETY: the caller's; the window is as wide as said, and not higher than `ROWS`.
    unsafe {
        match (window.kernel[0], window.dilation[1], window.kernel[1], window.stride[1]) {
            (..=ROWS, 1, 3, 1) => known::<V, 3, 1>(row),
            (..=ROWS, 1, 3, 2) => known::<V, 3, 2>(row),
            (..=ROWS, 1, 5, 1) => known::<V, 5, 1>(row),
            (..=ROWS, 1, 5, 2) => known::<V, 5, 2>(row),
            _ => any::<V>(row),
        }
    }
}

/// All outputs of a window that is `TAPS` wide and steps by `STRIDE`.
///
/// # Safety
/// As [`row`].
#[inline(always)]
unsafe fn known<V: Lanes, const TAPS: usize, const STRIDE: usize>(row: &Row<'_>) {
    let is_sevens = !row.out_w.is_multiple_of(BLOCK) && row.out_w.is_multiple_of(7);
    let mut x = 0;
    while x < row.out_w {
        // SAFETY: the caller's; as many outputs remain.
        x += unsafe {
            match row.out_w - x {
                7.. if is_sevens => shared::<V, 7, TAPS, STRIDE>(row, x),
                BLOCK.. => shared::<V, BLOCK, TAPS, STRIDE>(row, x),
                4.. => shared::<V, 4, TAPS, STRIDE>(row, x),
                2.. => shared::<V, 2, TAPS, STRIDE>(row, x),
                _ => shared::<V, 1, TAPS, STRIDE>(row, x),
            }
        };
    }
}

/// All channels of outputs `x .. x + WIDTH`, which share most of their pixels; returns `WIDTH`.
///
/// # Safety
/// As [`row`].
#[inline(always)]
unsafe fn shared<V: Lanes, const WIDTH: usize, const TAPS: usize, const STRIDE: usize>(
    row: &Row<'_>,
    x: usize,
) -> usize {
    let window = &row.window;
    let taps = window.inside(0, row.y, row.h);
    let mut pixels = [[row.zeros; COLUMNS]; ROWS];
    for (tap, pixels) in taps.clone().zip(&mut pixels) {
        let y = row.y * window.stride[0] + tap * window.dilation[0] - window.pads[0];
        let left = (x * STRIDE).wrapping_sub(window.pads[1]);
        let line = row.image.as_ptr().wrapping_add(y * row.w * row.channels);
        let pixels = &mut pixels[..(WIDTH - 1) * STRIDE + TAPS];
        if left < row.w && left + pixels.len() <= row.w {
            for (column, pixel) in pixels.iter_mut().enumerate() {
                *pixel = line.wrapping_add((left + column) * row.channels);
            }
            continue;
        }
        for (column, pixel) in pixels.iter_mut().enumerate() {
            let column = left.wrapping_add(column);
            if column < row.w {
                *pixel = line.wrapping_add(column * row.channels);
            }
        }
    }
    let whole = row.channels - row.channels % V::N;
    // SAFETY: the caller's; whole vectors, then the rest.
    unsafe {
        for start in (0..whole).step_by(V::N) {
            shared_block::<V, true, WIDTH, TAPS, STRIDE>(row, &pixels, taps.clone(), start, V::N, x);
        }
        if whole < row.channels {
            let lanes = row.channels - whole;
            shared_block::<V, false, WIDTH, TAPS, STRIDE>(row, &pixels, taps, whole, lanes, x);
        }
    }
    WIDTH
}

/// Channels `start .. start + lanes` of outputs `x .. x + WIDTH`.
///
/// # Safety
/// As [`row`]; `pixels` hold all channels.
#[inline(always)]
unsafe fn shared_block<V: Lanes, const WHOLE: bool, const WIDTH: usize, const TAPS: usize, const STRIDE: usize>(
    row: &Row<'_>,
    pixels: &[[*const f32; COLUMNS]; ROWS],
    taps: Range<usize>,
    start: usize,
    lanes: usize,
    x: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [V::splat(0.0); WIDTH];
        for (tap, pixels) in taps.zip(pixels) {
            let weights = row.weight.as_ptr().add(tap * TAPS * row.channels + start);
            let weights: [V; TAPS] =
                std::array::from_fn(|tap| load::<V, WHOLE>(weights.add(tap * row.channels), lanes));
            for (i, sum) in sums.iter_mut().enumerate() {
                for (tap, &weight) in weights.iter().enumerate() {
                    *sum = load::<V, WHOLE>(pixels[i * STRIDE + tap].add(start), lanes).mul_add(weight, *sum);
                }
            }
        }
        end::<V, WHOLE, WIDTH>(row, &sums, start, lanes, x);
    }
}

/// All outputs of any window.
///
/// # Safety
/// As [`row`].
#[inline(always)]
unsafe fn any<V: Lanes>(row: &Row<'_>) {
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
        end::<V, WHOLE, WIDTH>(row, &sums, start, lanes, x);
    }
}

/// Adds bias and residual, clamps and stores.
///
/// # Safety
/// As [`row`].
#[inline(always)]
unsafe fn end<V: Lanes, const WHOLE: bool, const WIDTH: usize>(
    row: &Row<'_>,
    sums: &[V; WIDTH],
    start: usize,
    lanes: usize,
    x: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let bias = if row.bias.is_null() { V::splat(0.0) } else { load::<V, WHOLE>(row.bias.add(start), lanes) };
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
