//! The input gradient of depthwise convolutions with strides, vectorised over channels.

use crate::conv::Window;
use crate::simd::Lanes;

/// One row of pixels of the input of one image.
pub(super) struct Row<'a> {
    pub window: Window,
    /// `[h', w', channels]`
    pub d_out: &'a [f32],
    pub out_size: [usize; 2],
    /// `[taps, channels]`
    pub weight: &'a [f32],
    pub channels: usize,
    /// Which row.
    pub y: usize,
    /// `[channels]`
    pub bias: Option<&'a [f32]>,
    /// As long as the row.
    pub residual: Option<&'a [f32]>,
    pub clamp: (f32, f32),
}

/// Vectors summed at once.
const VECTORS: usize = 4;

/// The output of `axis` that has pixel `at` under `tap`.
#[inline(always)]
fn output(window: &Window, axis: usize, at: usize, tap: usize, size: usize) -> Option<usize> {
    let at = (at + window.pads[axis]).checked_sub(tap * window.dilation[axis])?;
    let out = at / window.stride[axis];
    (out * window.stride[axis] == at && out < size).then_some(out)
}

/// Writes the row to `to`.
///
/// # Safety
/// The slices are as long as said; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn row<V: Lanes>(row: &Row<'_>, to: &mut [f32]) {
    let (window, channels) = (&row.window, row.channels);
    for (x, to) in to.chunks_exact_mut(channels).enumerate() {
        let mut first = 0;
        while first < channels {
            let lanes: [usize; VECTORS] =
                [0, 1, 2, 3].map(|vector| channels.saturating_sub(first + vector * V::N).min(V::N));
            // SAFETY: the caller's; only channels that exist are read and written.
            unsafe {
                let mut sums = [V::splat(0.0); VECTORS];
                for tap_y in 0..window.kernel[0] {
                    let Some(out_y) = output(window, 0, row.y, tap_y, row.out_size[0]) else { continue };
                    for tap_x in 0..window.kernel[1] {
                        let Some(out_x) = output(window, 1, x, tap_x, row.out_size[1]) else { continue };
                        let d = row.d_out.as_ptr().add((out_y * row.out_size[1] + out_x) * channels + first);
                        let weight = row.weight.as_ptr().add((tap_y * window.kernel[1] + tap_x) * channels + first);
                        for (vector, sum) in sums.iter_mut().enumerate() {
                            let weight = V::load_first(weight.wrapping_add(vector * V::N), lanes[vector]);
                            *sum = V::load_first(d.wrapping_add(vector * V::N), lanes[vector]).mul_add(weight, *sum);
                        }
                    }
                }
                let (min, max) = (V::splat(row.clamp.0), V::splat(row.clamp.1));
                for (vector, &sum) in sums.iter().enumerate() {
                    let (mut sum, at) = (sum, first + vector * V::N);
                    if let Some(bias) = row.bias {
                        sum = sum.add(V::load_first(bias.as_ptr().wrapping_add(at), lanes[vector]));
                    }
                    if let Some(residual) = row.residual {
                        let from = residual.as_ptr().wrapping_add(x * channels + at);
                        sum = sum.add(V::load_first(from, lanes[vector]));
                    }
                    let sum = sum.at_least(min).at_most(max);
                    sum.store_first(to.as_mut_ptr().wrapping_add(at), lanes[vector]);
                }
            }
            first += VECTORS * V::N;
        }
    }
}
