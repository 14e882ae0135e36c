//! Pooling of one row of outputs, vectorised over channels; written once for all instruction sets.

use super::{Pool, PoolShape};
use crate::simd::rows::{load, store};
use crate::simd::{Lanes, math};

/// One row of outputs of one image.
pub(super) struct Row<'a> {
    pub shape: PoolShape,
    pub h: usize,
    pub w: usize,
    pub out_w: usize,
    /// The image, `[h, w, channels]`.
    pub image: &'a [f32],
    pub y: usize,
    /// `[out_w, channels]`.
    pub out: *mut f32,
}

/// # Safety
/// `image` holds an image of `h · w · channels`, `out` one row, and `y` is a row of the output; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn row<V: Lanes>(row: &Row<'_>) {
    let PoolShape { window, channels, op, .. } = row.shape;
    let taps_y = window.inside(0, row.y, row.h);
    for x in 0..row.out_w {
        let taps_x = window.inside(1, x, row.w);
        let divisor = row.shape.divisor([row.y, x], [row.h, row.w]);
        for start in (0..channels).step_by(V::N) {
            let len = (channels - start).min(V::N);
            // SAFETY: taps inside of the image only; the rest is the caller's.
            unsafe {
                let mut result = V::splat(if op == Pool::Max { f32::NEG_INFINITY } else { 0.0 });
                for tap_y in taps_y.clone() {
                    let line = (row.y * window.stride[0] + tap_y * window.dilation[0] - window.pads[0]) * row.w;
                    for tap_x in taps_x.clone() {
                        let pixel = line + x * window.stride[1] + tap_x * window.dilation[1] - window.pads[1];
                        let from = row.image.as_ptr().add(pixel * channels + start);
                        let value = if len == V::N { V::load(from) } else { V::load_first(from, len) };
                        result = if op == Pool::Max { math::larger(result, value) } else { result.add(value) };
                    }
                }
                if op != Pool::Max {
                    result = result.div(V::splat(divisor));
                }
                result.store_first(row.out.add(x * channels + start), len);
            }
        }
    }
}

/// Some channels of one image, and the gradients that belong to them. All pointers are at the first of the channels.
pub(super) struct Gradient {
    pub shape: PoolShape,
    pub h: usize,
    pub w: usize,
    pub out_h: usize,
    pub out_w: usize,
    /// Channels of these.
    pub width: usize,
    /// `[out_h, out_w, channels]`.
    pub dy: *const f32,
    /// The input, `[h, w, channels]`, for a maximum.
    pub x: *const f32,
    /// The output, if it is there, so that the maximum need not be looked for.
    pub y: *const f32,
    /// `[h, w, channels]`.
    pub dx: *mut f32,
    /// Every pixel is in one window, so it is written, not added to.
    pub is_tiled: bool,
}

/// # Safety
/// The pointers are at `width` channels of images of the shape; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn gradient<V: Lanes>(of: &Gradient) {
    // SAFETY: the caller's.
    unsafe {
        if !of.is_tiled {
            for pixel in 0..of.h * of.w {
                std::slice::from_raw_parts_mut(of.dx.add(pixel * of.shape.channels), of.width).fill(0.0);
            }
        }
        match (of.shape.op, of.is_tiled) {
            (Pool::Max, false) => windows::<V, true, true>(of),
            (Pool::Max, true) => windows::<V, true, false>(of),
            (_, false) => windows::<V, false, true>(of),
            (_, true) => windows::<V, false, false>(of),
        }
    }
}

/// # Safety
/// As [`gradient`].
#[inline(always)]
unsafe fn windows<V: Lanes, const MAX: bool, const ADD: bool>(of: &Gradient) {
    let PoolShape { window, channels, .. } = of.shape;
    for at in 0..of.out_h * of.out_w {
        let [row, col] = [at / of.out_w, at % of.out_w];
        let (taps_y, taps_x) = (window.inside(0, row, of.h), window.inside(1, col, of.w));
        // What is before the image is no tap, so this may wrap around.
        let top = (row * window.stride[0]).wrapping_sub(window.pads[0]);
        let left = (col * window.stride[1]).wrapping_sub(window.pads[1]);
        let divisor = if MAX { 1.0 } else { of.shape.divisor([row, col], [of.h, of.w]) };
        for start in (0..of.width).step_by(V::N) {
            // SAFETY: taps inside of the image only; the rest is the caller's.
            unsafe {
                let mut left_over = load::<V>(of.dy.add(at * channels), start, of.width);
                let mut largest = V::splat(f32::NEG_INFINITY);
                if !MAX {
                    left_over = left_over.div(V::splat(divisor));
                } else if !of.y.is_null() {
                    largest = load(of.y.add(at * channels), start, of.width);
                } else {
                    for tap_y in taps_y.clone() {
                        for tap_x in taps_x.clone() {
                            let y = top.wrapping_add(tap_y * window.dilation[0]);
                            let pixel = y * of.w + left.wrapping_add(tap_x * window.dilation[1]);
                            largest = math::larger(largest, load(of.x.add(pixel * channels), start, of.width));
                        }
                    }
                }
                for tap_y in taps_y.clone() {
                    for tap_x in taps_x.clone() {
                        let y = top.wrapping_add(tap_y * window.dilation[0]);
                        let pixel = (y * of.w + left.wrapping_add(tap_x * window.dilation[1])) * channels;
                        let mut share = left_over;
                        if MAX {
                            // The first that is not less takes it all.
                            let x = load::<V>(of.x.add(pixel), start, of.width);
                            share = x.if_less(largest, V::splat(0.0), left_over);
                            left_over = x.if_less(largest, left_over, V::splat(0.0));
                        }
                        if ADD {
                            share = share.add(load(of.dx.add(pixel), start, of.width));
                        }
                        store(share, of.dx.add(pixel), start, of.width);
                    }
                }
            }
        }
    }
}
