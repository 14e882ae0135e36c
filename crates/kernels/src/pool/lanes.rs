//! Pooling of one row of outputs, vectorised over channels; written once for all instruction sets.

use super::{Pool, PoolShape};
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
