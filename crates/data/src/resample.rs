//! Resampling of 8-bit images.
//!
//! Does what Pillow's `Image.resize` does, bit for bit: along the rows first, then along the columns, each pass in 22-bit
//! fixed point and rounded to 8 bits; a kernel as wide as the step when shrinking, so that every pixel counts. Written out
//! rather than taken from a library, because libraries with vector code round differently from one another.
//!
//! The same kernels also resample planes of f32, without rounding to 8 bits in between: [`resize_planes`].
//!
//! Source: Pillow, "Filters" in its documentation, and its results, which the tests hold.

use crate::pixels::Pixels;
use crate::settings::Filter;

/// Fixed-point bits of a weight: 32, less 8 of the pixel and 2 for weights that add up to more than 1 in magnitude.
const FRACTION_BITS: u32 = 22;

/// The weights of one output position: `weights[i]` belongs to input position `first + i`.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

/// `pixels` at another size, neither side of which is 0.
pub(crate) fn resize(pixels: Pixels, [height, width]: [usize; 2], filter: Filter) -> Pixels {
    if filter == Filter::Nearest {
        return nearest(&pixels, [height, width]);
    }
    let pixels = if width == pixels.width { pixels } else { along_rows(&pixels, &taps(pixels.width, width, filter)) };
    if height == pixels.height { pixels } else { along_columns(&pixels, &taps(pixels.height, height, filter)) }
}

/// Half the width of the kernel, in steps.
fn support(filter: Filter) -> f64 {
    match filter {
        Filter::Nearest => 0.5,
        Filter::Bilinear => 1.0,
        Filter::Bicubic => 2.0,
        Filter::Lanczos => 3.0,
    }
}

/// The kernel at distance `x`, in steps.
fn kernel(filter: Filter, x: f64) -> f64 {
    let x = x.abs();
    if x >= support(filter) {
        return 0.0;
    }
    match filter {
        Filter::Nearest => 1.0,
        Filter::Bilinear => 1.0 - x,
        // Keys' cubic with a = −0.5.
        Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        Filter::Bicubic => ((x - 5.0) * x + 8.0) * x * -0.5 + 2.0,
        Filter::Lanczos => sinc(x) * sinc(x / 3.0),
    }
}

fn sinc(x: f64) -> f64 {
    let angle = x * std::f64::consts::PI;
    if angle == 0.0 { 1.0 } else { angle.sin() / angle }
}

fn taps(from: usize, to: usize, filter: Filter) -> Vec<Tap> {
    let fixed = |weight: f64| (weight * f64::from(1 << FRACTION_BITS)).round() as i32;
    let tap = |(first, weights): (usize, Vec<f64>)| Tap { first, weights: weights.into_iter().map(fixed).collect() };
    weights(from, to, filter).map(tap).collect()
}

/// For each output position the first input position that counts, and the weights from there, which add up to 1.
fn weights(from: usize, to: usize, filter: Filter) -> impl Iterator<Item = (usize, Vec<f64>)> {
    let scale = from as f64 / to as f64;
    let step = scale.max(1.0);
    let reach = support(filter) * step;
    (0..to).map(move |position: usize| {
        let centre = (position as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..end).map(|at| kernel(filter, (at as f64 - centre + 0.5) * (1.0 / step))).collect();
        let sum: f64 = raw.iter().sum();
        (first, raw.iter().map(|weight| weight / sum).collect())
    })
}

/// The weights that bring planes of f32 from one size to another.
#[derive(Debug, Clone)]
pub(crate) struct PlaneTaps {
    from: [usize; 2],
    to: [usize; 2],
    rows: Vec<(usize, Vec<f32>)>,
    columns: Vec<(usize, Vec<f32>)>,
}

impl PlaneTaps {
    /// From `[height, width]` to another, no side of which is 0.
    pub fn new(from: [usize; 2], to: [usize; 2], filter: Filter) -> Self {
        let axis = |at: usize| {
            let narrow = |(first, weights): (usize, Vec<f64>)| (first, weights.iter().map(|&w| w as f32).collect());
            weights(from[at], to[at], filter).map(narrow).collect()
        };
        Self { from, to, rows: axis(0), columns: axis(1) }
    }

    /// Whether these are the weights for this pair of sizes.
    pub fn is_for(&self, from: [usize; 2], to: [usize; 2]) -> bool {
        [self.from, self.to] == [from, to]
    }
}

/// Resamples planes that lie one after the other: along the columns, then along the rows, each in f32. `spare` is space to work in.
pub(crate) fn resize_planes(values: &mut Vec<f32>, spare: &mut Vec<f32>, taps: &PlaneTaps) {
    let ([height, width], [to_height, to_width]) = (taps.from, taps.to);
    let planes = values.len() / (height * width).max(1);
    spare.clear();
    spare.resize(planes * to_height * width, 0.0);
    let targets = spare.chunks_exact_mut((to_height * width).max(1));
    for (plane, target) in values.chunks_exact((height * width).max(1)).zip(targets) {
        for (row, (first, weights)) in target.chunks_exact_mut(width).zip(&taps.rows) {
            for (source, &weight) in plane[first * width..].chunks_exact(width).zip(weights) {
                row.iter_mut().zip(source).for_each(|(sum, &x)| *sum += x * weight);
            }
        }
    }
    values.clear();
    for row in spare.chunks_exact(width.max(1)) {
        let at = |(first, weights): &(usize, Vec<f32>)| {
            row[*first..].iter().zip(weights).fold(0.0, |sum, (&x, &weight)| sum + x * weight)
        };
        values.extend(taps.columns.iter().map(at));
    }
    debug_assert_eq!(values.len(), planes * to_height * to_width);
}

/// Weighted sum of the pixels at `start`, `start + stride` and so on.
fn blend(values: &[u8], start: usize, stride: usize, weights: &[i32]) -> u8 {
    let half = 1 << (FRACTION_BITS - 1);
    let pixels = values[start..].iter().step_by(stride);
    let sum = pixels.zip(weights).fold(half, |sum, (&pixel, &weight)| sum + i32::from(pixel) * weight);
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

fn along_rows(pixels: &Pixels, taps: &[Tap]) -> Pixels {
    let channels = pixels.channels;
    let mut values = Vec::with_capacity(pixels.height * taps.len() * channels);
    for row in pixels.values.chunks_exact(pixels.width * channels) {
        for tap in taps {
            for channel in 0..channels {
                values.push(blend(row, tap.first * channels + channel, channels, &tap.weights));
            }
        }
    }
    Pixels { width: taps.len(), values, ..*pixels }
}

fn along_columns(pixels: &Pixels, taps: &[Tap]) -> Pixels {
    let row_len = pixels.width * pixels.channels;
    let mut values = Vec::with_capacity(taps.len() * row_len);
    for tap in taps {
        for at in 0..row_len {
            values.push(blend(&pixels.values, tap.first * row_len + at, row_len, &tap.weights));
        }
    }
    Pixels { height: taps.len(), values, ..*pixels }
}

fn nearest(pixels: &Pixels, [height, width]: [usize; 2]) -> Pixels {
    let sources = |from: usize, to: usize| {
        let scale = from as f64 / to as f64;
        // Added up step by step, as Pillow does: the sums differ from products in the last bit.
        let positions = std::iter::successors(Some(scale * 0.5), move |at| Some(at + scale));
        positions.take(to).map(|at| (at as usize).min(from - 1)).collect::<Vec<_>>()
    };
    let columns = sources(pixels.width, width);
    let mut values = Vec::with_capacity(height * width * pixels.channels);
    for row in sources(pixels.height, height) {
        for column in &columns {
            let start = (row * pixels.width + column) * pixels.channels;
            values.extend_from_slice(&pixels.values[start..start + pixels.channels]);
        }
    }
    Pixels { height, width, values, ..*pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOOTH: [Filter; 3] = [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];

    fn image(height: usize, width: usize, channels: usize, values: &[u8]) -> Pixels {
        Pixels { height, width, channels, values: values.to_vec() }
    }

    #[test]
    fn shrinking_averages_over_the_step() {
        let ramp = image(1, 4, 1, &[0, 100, 200, 100]);
        // The triangle over two destination pixels of width 2: weights 3, 3, 1 of 7 from either end: 500 / 7 and 1000 / 7.
        assert_eq!(resize(ramp.clone(), [1, 2], Filter::Bilinear).values, [71, 143]);
        let column = Pixels { height: 4, width: 1, ..ramp };
        assert_eq!(resize(column, [2, 1], Filter::Bilinear).values, [71, 143]);
    }

    #[test]
    fn constants_stay_and_the_same_size_changes_nothing() {
        for filter in SMOOTH.into_iter().chain([Filter::Nearest]) {
            let constant = resize(image(9, 7, 3, &[77; 9 * 7 * 3]), [4, 11], filter);
            assert_eq!((constant.height, constant.width, constant.values.len()), (4, 11, 4 * 11 * 3));
            assert!(constant.values.iter().all(|&x| x == 77), "{filter:?}");
            let noise = image(2, 3, 1, &[9, 200, 3, 250, 0, 31]);
            assert_eq!(resize(noise.clone(), [2, 3], filter), noise);
        }
    }

    #[test]
    fn planes_of_floats_are_resampled_as_bytes_are_but_for_rounding() {
        let values: Vec<u8> = (0..70u32).map(|i| ((7 * i * i + 13 * i) % 256) as u8).collect();
        for to in [[2, 3], [6, 4], [5, 7], [1, 1], [11, 20]] {
            let mut planes: Vec<f32> = values.iter().map(|&x| f32::from(x)).collect();
            resize_planes(&mut planes, &mut Vec::new(), &PlaneTaps::new([5, 7], to, Filter::Bilinear));
            assert_eq!(planes.len(), 2 * to[0] * to[1]);
            for (bytes, floats) in values.chunks(35).zip(planes.chunks(to[0] * to[1])) {
                let expected = resize(image(5, 7, 1, bytes), to, Filter::Bilinear).values;
                for (float, byte) in floats.iter().zip(expected) {
                    // Bytes are rounded twice, by half a step each time.
                    assert!((float - f32::from(byte)).abs() < 1.01, "{to:?}: {float} and {byte}");
                }
            }
        }
    }

    #[test]
    fn results_are_those_of_pillow() {
        // (7 i² + 13 i) mod 256 for i in 0..35, as 5 rows of 7; resized by Pillow 13.0.0.
        let values: Vec<u8> = (0..35u32).map(|i| ((7 * i * i + 13 * i) % 256) as u8).collect();
        let expected: [(Filter, [usize; 2], &[u8]); 8] = [
            (Filter::Nearest, [2, 3], &[40, 62, 140, 90, 248, 206]),
            (
                Filter::Nearest,
                [6, 4],
                &[
                    0, 54, 164, 74, 178, 172, 222, 72, 18, 208, 198, 244, 18, 208, 198, 244, 32, 162, 92, 78, 220, 34,
                    160, 86,
                ],
            ),
            (Filter::Bilinear, [2, 3], &[93, 142, 163, 118, 173, 149]),
            (
                Filter::Bilinear,
                [6, 4],
                &[
                    11, 61, 162, 149, 92, 102, 161, 118, 120, 170, 184, 179, 96, 194, 183, 189, 89, 155, 160, 126, 168,
                    103, 167, 102,
                ],
            ),
            (Filter::Bicubic, [2, 3], &[86, 145, 166, 121, 177, 148]),
            (
                Filter::Bicubic,
                [6, 4],
                &[
                    3, 56, 169, 154, 94, 91, 164, 109, 127, 180, 187, 187, 85, 214, 186, 202, 75, 159, 164, 117, 173,
                    96, 175, 96,
                ],
            ),
            (Filter::Lanczos, [2, 3], &[81, 150, 168, 123, 180, 148]),
            (
                Filter::Lanczos,
                [6, 4],
                &[
                    1, 53, 177, 157, 91, 76, 168, 107, 143, 185, 186, 192, 72, 231, 186, 211, 72, 153, 170, 104, 171,
                    94, 183, 92,
                ],
            ),
        ];
        for (filter, size, pixels) in expected {
            assert_eq!(resize(image(5, 7, 1, &values), size, filter).values, pixels, "{filter:?} to {size:?}");
        }
    }
}
