//! One integer filter a channel: plain loops over channels, which the compiler vectorises for each instruction set.

use super::finish::Finish;
use crate::conv::Window;

/// One row of outputs of one image.
pub(crate) struct Row<'a> {
    pub window: Window,
    pub h: usize,
    pub w: usize,
    pub channels: usize,
    pub out_w: usize,
    /// The image, `[h, w, channels]`, raw bytes; `^ flip` makes them unsigned.
    pub image: &'a [u8],
    pub flip: u8,
    /// Zero point of the unsigned form.
    pub zero: i16,
    /// `[taps, channels]`.
    pub weight: &'a [i16],
    pub y: usize,
    /// At the first output of this row; `offsets` hold the bias alone.
    pub finish: Finish,
}

/// Calls `finish(sums, x, channel, n)` for every run of at most `CHANNELS` sums.
///
/// # Safety
/// The window gives `out_w` outputs and more than `y` rows; `finish` may be called for all of the row.
#[inline(always)]
pub(crate) unsafe fn row<const CHANNELS: usize>(row: &Row<'_>, finish: impl Fn(*const i32, usize, usize, usize)) {
    let (window, channels) = (&row.window, row.channels);
    for x in 0..row.out_w {
        let mut start = 0;
        while start < channels {
            // Whole vectors of sixteen where there are no more `CHANNELS`, then the rest.
            let left = channels - start;
            let len = if left >= CHANNELS {
                CHANNELS
            } else if left >= 16 {
                16
            } else {
                left
            };
            let mut sums = [0i32; CHANNELS];
            for tap_y in window.inside(0, row.y, row.h) {
                let line = (row.y * window.stride[0] + tap_y * window.dilation[0] - window.pads[0]) * row.w;
                for tap_x in window.inside(1, x, row.w) {
                    let pixel = line + x * window.stride[1] + tap_x * window.dilation[1] - window.pads[1];
                    let image = &row.image[pixel * channels + start..][..len];
                    let weight = &row.weight[(tap_y * window.kernel[1] + tap_x) * channels + start..][..len];
                    match len {
                        len if len == CHANNELS => add_whole::<CHANNELS>(&mut sums, image, weight, row.flip, row.zero),
                        16 => add_whole::<16>(&mut sums, image, weight, row.flip, row.zero),
                        _ => add_products(&mut sums, image, weight, row.flip, row.zero),
                    }
                }
            }
            finish(sums.as_ptr(), x, start, len);
            start += len;
        }
    }
}

/// `sums += (image - zero) · weight`.
#[inline(always)]
fn add_products(sums: &mut [i32], image: &[u8], weight: &[i16], flip: u8, zero: i16) {
    for ((sum, &x), &w) in sums.iter_mut().zip(image).zip(weight) {
        *sum += i32::from(i16::from(x ^ flip) - zero) * i32::from(w);
    }
}

/// [`add_products`] for a length that the compiler knows.
#[inline(always)]
fn add_whole<const N: usize>(sums: &mut [i32], image: &[u8], weight: &[i16], flip: u8, zero: i16) {
    if let (Some(sums), Some(image), Some(weight)) =
        (sums.first_chunk_mut::<N>(), image.first_chunk::<N>(), weight.first_chunk::<N>())
    {
        add_products(sums, image, weight, flip, zero);
    }
}
