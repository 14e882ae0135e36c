//! Histograms of weights with the values a quantizer leaves.

use serde::{Deserialize, Deserializer, Serialize};

/// The values a weight can take after quantization, as it is read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantizationGrid {
    /// In words: `int8, per channel, 64 scales`.
    pub description: String,
    /// The levels, in weight units, ascending. Per-channel grids give those of one channel and say so.
    #[serde(deserialize_with = "nan_from_null_list")]
    pub levels: Vec<f64>,
}

/// Counts of a weight's values in bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightHistogram {
    /// The layer or weight.
    pub layer: String,
    /// Smallest value, the left edge of the first bin.
    #[serde(deserialize_with = "nan_from_null")]
    pub low: f64,
    /// Largest value, the right edge of the last bin.
    #[serde(deserialize_with = "nan_from_null")]
    pub high: f64,
    /// Values in each bin, exact zeros left out.
    pub counts: Vec<u64>,
    /// Number of exact zeros; they would dwarf every other bin of a sparse weight.
    pub n_zeros: u64,
    /// Number of NaN and infinite values, in no bin.
    pub n_not_finite: u64,
    /// The grid of the quantized weight.
    #[serde(default)]
    pub grid: Option<QuantizationGrid>,
}

impl WeightHistogram {
    /// Counts `weights` in `n_bins` bins (at least one) between the smallest and the largest finite value.
    #[must_use]
    pub fn of(layer: &str, weights: &[f32], n_bins: usize, grid: Option<QuantizationGrid>) -> Self {
        let finite = || weights.iter().filter(|weight| weight.is_finite()).map(|weight| f64::from(*weight));
        let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), w| (low.min(w), high.max(w)));
        let mut counts = vec![0; n_bins.max(1)];
        let width = high - low;
        for weight in finite().filter(|weight| *weight != 0.0) {
            let share = if width > 0.0 { (weight - low) / width } else { 0.5 };
            let bin = (share * counts.len() as f64) as usize;
            let last = counts.len() - 1;
            counts[bin.min(last)] += 1;
        }
        Self {
            layer: layer.to_owned(),
            low: if low.is_finite() { low } else { 0.0 },
            high: if high.is_finite() { high } else { 0.0 },
            counts,
            n_zeros: weights.iter().filter(|weight| **weight == 0.0).count() as u64,
            n_not_finite: weights.iter().filter(|weight| !weight.is_finite()).count() as u64,
            grid,
        }
    }

    /// Number of values counted, zeros included.
    #[must_use]
    pub fn n_values(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.n_zeros + self.n_not_finite
    }
}

/// JSON writes NaN as null; this reads it back.
pub(crate) fn nan_from_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// The same for a list.
pub(crate) fn nan_from_null_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_fall_into_their_bins() {
        let histogram = WeightHistogram::of("w", &[-1.0, -0.9, 0.0, 0.0, 0.5, 1.0, f32::NAN], 4, None);
        assert_eq!((histogram.low, histogram.high), (-1.0, 1.0));
        assert_eq!((histogram.counts, histogram.n_zeros, histogram.n_not_finite), (vec![2, 0, 0, 2], 2, 1));
        let constant = WeightHistogram::of("w", &[2.0; 3], 3, None);
        assert_eq!(constant.counts, [0, 3, 0]);
        let nothing = WeightHistogram::of("w", &[f32::INFINITY], 0, None);
        assert_eq!((nothing.low, nothing.high, nothing.counts), (0.0, 0.0, vec![0]));
    }

    proptest! {
        #[test]
        fn every_value_is_counted_once(weights in prop::collection::vec(any::<f32>(), 0..50), n_bins in 0usize..9) {
            let histogram = WeightHistogram::of("w", &weights, n_bins, None);
            prop_assert_eq!(histogram.n_values(), weights.len() as u64);
            prop_assert!(histogram.low.is_finite() && histogram.low <= histogram.high);
        }
    }
}
