//! Resampling along one axis: which input positions an output position is made of, and how much of each.

use lissom_graph::OpError;
use lissom_tensor::{DType, checked_len};

/// How values between positions are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interpolation {
    /// The nearest position.
    Nearest(NearestRounding),
    /// The two positions around.
    Linear,
    /// The four positions around, with this coefficient (−0.75 or −0.5).
    Cubic(f64),
}

/// Which position is nearest to one between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // ONNX's names
pub enum NearestRounding {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// Where a position of the output lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // ONNX's names
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// One axis to resample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) length: usize,
    pub(crate) out_length: usize,
    /// Output positions per input position; `out_length` may be rounded.
    pub(crate) scale: f64,
    /// Start and end of the part of the input that is taken, 0..1; only for `TfCropAndResize`.
    pub(crate) roi: [f64; 2],
}

/// For each output position `n_taps` positions of the input with their weights.
#[derive(Debug, Clone)]
pub(crate) struct Taps {
    pub(crate) n_taps: usize,
    pub(crate) positions: Vec<usize>,
    pub(crate) weights: Vec<f64>,
    /// Output positions that lie outside the input and take the extrapolation value.
    pub(crate) is_outside: Vec<bool>,
}

/// How all axes are resampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    pub(crate) interpolation: Interpolation,
    pub(crate) coordinates: Coordinates,
    /// Shrinking averages over all positions that fall together.
    pub(crate) antialias: bool,
    /// Positions outside the input get no weight instead of the border's value.
    pub(crate) exclude_outside: bool,
}

impl Axis {
    fn source(&self, coordinates: Coordinates, position: usize) -> f64 {
        let (x, length) = (position as f64, self.length as f64);
        let out_length = self.scale * length;
        let half_pixel = (x + 0.5) / self.scale - 0.5;
        match coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = self.out_length as f64 / out_length;
                length / 2.0 * (1.0 - adjustment) + half_pixel
            }
            Coordinates::PytorchHalfPixel if self.out_length > 1 => half_pixel,
            Coordinates::PytorchHalfPixel => 0.0,
            Coordinates::AlignCorners if out_length == 1.0 => 0.0,
            Coordinates::AlignCorners => x * (length - 1.0) / (out_length - 1.0),
            Coordinates::Asymmetric => x / self.scale,
            Coordinates::TfHalfPixelForNn => (x + 0.5) / self.scale,
            Coordinates::TfCropAndResize => {
                let [start, end] = self.roi;
                let within = if self.out_length > 1 {
                    x * (end - start) * (length - 1.0) / (out_length - 1.0)
                } else {
                    (end - start) * (length - 1.0) / 2.0
                };
                start * (length - 1.0) + within
            }
        }
    }

    /// True if every output position is just the same input position.
    pub(crate) fn is_identity(&self, coordinates: Coordinates) -> bool {
        let whole = coordinates != Coordinates::TfCropAndResize || self.roi == [0.0, 1.0];
        whole && self.length == self.out_length && (self.scale - 1.0).abs() < 1e-9
    }

    /// What every output position is made of.
    ///
    /// # Errors
    /// [`OpError::BadValue`] for a scale that is not positive, or an output of an empty axis.
    pub(crate) fn taps(&self, sampling: Sampling) -> Result<Taps, OpError> {
        let mut taps = Taps { n_taps: 1, positions: Vec::new(), weights: Vec::new(), is_outside: Vec::new() };
        if self.out_length == 0 {
            return Ok(taps);
        }
        if self.length == 0 || !self.scale.is_finite() || self.scale <= 0.0 {
            let (length, out, scale) = (self.length, self.out_length, self.scale);
            return Err(OpError::value(format!("an axis of length {length} resized to {out} by {scale}")));
        }
        // Antialiasing widens the kernel by as much as the axis shrinks, which may be any amount.
        let reach = if sampling.antialias { 2.0 / self.scale.min(1.0) } else { 2.0 };
        checked_len(DType::F64, &[self.out_length, (2.0 * reach) as usize + 2])?;
        let last = self.length as f64 - 1.0;
        let mut weights = Vec::new();
        for position in 0..self.out_length {
            let source = self.source(sampling.coordinates, position);
            let is_crop = sampling.coordinates == Coordinates::TfCropAndResize;
            taps.is_outside.push(is_crop && !(0.0..=last).contains(&source));
            // The position left of the source, never the source itself, so that the fraction is in (0, 1].
            let left = source.ceil() - 1.0;
            let fraction = source - left;
            weights.clear();
            let first = self.weights(sampling, fraction, &mut weights);
            let at = |k: usize| left + first as f64 + k as f64;
            if sampling.exclude_outside {
                for (k, weight) in weights.iter_mut().enumerate() {
                    if !(0.0..=last).contains(&at(k)) {
                        *weight = 0.0;
                    }
                }
                let sum: f64 = weights.iter().sum();
                if sum != 0.0 {
                    weights.iter_mut().for_each(|weight| *weight /= sum);
                }
            }
            taps.n_taps = weights.len();
            taps.positions.extend((0..weights.len()).map(|k| at(k).clamp(0.0, last) as usize));
            taps.weights.append(&mut weights);
        }
        Ok(taps)
    }

    /// Weights of the positions from `left + result` on, where the source is at `left + fraction`.
    fn weights(&self, sampling: Sampling, fraction: f64, weights: &mut Vec<f64>) -> i64 {
        // A scale below 1 widens the kernel when antialiasing.
        let scale = if sampling.antialias { self.scale.min(1.0) } else { 1.0 };
        let (reach, kernel): (f64, &dyn Fn(f64) -> f64) = match sampling.interpolation {
            Interpolation::Nearest(rounding) => {
                weights.push(1.0);
                let is_right = match rounding {
                    _ if fraction == 1.0 => true,
                    NearestRounding::RoundPreferFloor => fraction > 0.5,
                    NearestRounding::RoundPreferCeil => fraction >= 0.5,
                    NearestRounding::Floor => false,
                    NearestRounding::Ceil => true,
                };
                return i64::from(is_right);
            }
            Interpolation::Linear => (1.0, &|x| (1.0 - x).max(0.0)),
            Interpolation::Cubic(a) => (2.0, &move |x| cubic(a, x)),
        };
        let first = (-reach / scale).floor() as i64 + 1;
        weights.extend((first..2 - first).map(|i| kernel(((i as f64 - fraction) * scale).abs())));
        let sum: f64 = weights.iter().sum();
        if sampling.antialias && sum != 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        first
    }
}

/// The cubic convolution kernel with coefficient `a` at distance `x`.
fn cubic(a: f64, x: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

impl Taps {
    /// The transpose of [`apply`](Self::apply): from the gradient of its result that of its argument.
    pub(crate) fn apply_transposed(&self, dy: &[f64], [outer, length, inner]: [usize; 3]) -> Vec<f64> {
        let out_length = self.is_outside.len();
        let mut dx = vec![0.0; outer * length * inner];
        for o in 0..outer {
            for position in (0..out_length).filter(|&position| !self.is_outside[position]) {
                let row = &dy[(o * out_length + position) * inner..][..inner];
                for tap in position * self.n_taps..(position + 1) * self.n_taps {
                    let (from, weight) = (self.positions[tap], self.weights[tap]);
                    let target = &mut dx[(o * length + from) * inner..][..inner];
                    target.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
        dx
    }

    /// Resamples `[outer, length, inner]` values along the middle axis.
    pub(crate) fn apply(&self, x: &[f64], [outer, length, inner]: [usize; 3], extrapolation: f64) -> Vec<f64> {
        let out_length = self.is_outside.len();
        let mut out = vec![0.0; outer * out_length * inner];
        for o in 0..outer {
            for position in 0..out_length {
                let row = &mut out[(o * out_length + position) * inner..][..inner];
                if self.is_outside[position] {
                    row.fill(extrapolation);
                    continue;
                }
                for tap in position * self.n_taps..(position + 1) * self.n_taps {
                    let (from, weight) = (self.positions[tap], self.weights[tap]);
                    let source = &x[(o * length + from) * inner..][..inner];
                    row.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
        out
    }
}
