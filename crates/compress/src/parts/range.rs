//! The range an activation is quantized over, from a histogram of what it was on calibration data.

use serde::Deserialize;

use super::histogram::Histogram;
use super::quantizer::{Codes, Quantizer};

/// How the range is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calibrate {
    /// Everything that was seen.
    #[default]
    MinMax,
    /// All but a small share of the values.
    Percentile,
    /// Where the error of rounding and cutting off is least.
    Mse,
    /// Where the distribution after rounding diverges least from the one before (Kullback-Leibler).
    Entropy,
}

/// How ranges are chosen, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangeRule {
    /// The way.
    pub calibrate: Calibrate,
    /// Share of the values that stays inside, in percent, for [`Calibrate::Percentile`].
    pub percentile: f64,
    /// Exponent of the error for [`Calibrate::Mse`]: 2, or 2.4 to weigh outliers more.
    pub power: f64,
    /// Whether the range is `-t..t`.
    pub is_symmetric: bool,
    /// The codes the range is spread over.
    pub codes: Codes,
}

impl RangeRule {
    /// `(lo, hi)` with `lo <= 0 <= hi`.
    pub fn range(&self, histogram: &Histogram) -> (f32, f32) {
        let (min, max) = histogram.range();
        let (min, max) = (min.min(0.0), max.max(0.0));
        let (lo, hi) = match self.calibrate {
            Calibrate::MinMax => (min, max),
            Calibrate::Percentile => self.percentile(histogram),
            Calibrate::Mse => self.least_error((min, max), histogram),
            Calibrate::Entropy => {
                let threshold = entropy_threshold(histogram, (self.codes.max - self.codes.min + 1) as usize);
                (-threshold, threshold)
            }
        };
        let (lo, hi) = (lo.clamp(min, 0.0), hi.clamp(0.0, max));
        if self.is_symmetric {
            let limit = hi.max(-lo);
            return (-limit, limit);
        }
        (lo, hi)
    }

    /// The quantizer over a range.
    pub fn quantizer(&self, (lo, hi): (f32, f32)) -> Quantizer {
        match self.is_symmetric && self.codes.min < 0 {
            true => Quantizer::symmetric(hi.max(-lo), self.codes),
            false => Quantizer::asymmetric(lo, hi, self.codes),
        }
    }

    fn percentile(&self, histogram: &Histogram) -> (f32, f32) {
        let outside = (1.0 - self.percentile / 100.0).max(0.0) * histogram.n() as f64;
        let bins = histogram.bins();
        if self.is_symmetric {
            let mut magnitudes: Vec<(f32, u64)> = bins.iter().map(|&(x, n)| (x.abs(), n)).collect();
            magnitudes.sort_by(|a, b| b.0.total_cmp(&a.0));
            let limit = first_inside(magnitudes.into_iter(), outside);
            return (-limit, limit);
        }
        let lo = first_inside(bins.iter().copied(), outside / 2.0);
        let hi = first_inside(bins.iter().rev().copied(), outside / 2.0);
        (lo, hi)
    }

    /// Each end in turn goes through 100 shares of the range from a fifth on, twice.
    fn least_error(&self, (min, max): (f32, f32), histogram: &Histogram) -> (f32, f32) {
        const N_SHARES: u32 = 100;
        let bins = histogram.bins();
        let error = |range: (f32, f32)| -> f64 {
            let quantizer = self.quantizer(range);
            let cost = |x: f32| {
                let difference = f64::from((x - quantizer.round_trip(x)).abs());
                if self.power == 2.0 { difference * difference } else { difference.powf(self.power) }
            };
            bins.iter().map(|&(x, n)| n as f64 * cost(x)).sum()
        };
        let share = |i: u32| 0.2 + 0.8 * i as f32 / (N_SHARES - 1) as f32;
        let mut best = ((min, max), error((min, max)));
        let search = |best: &mut ((f32, f32), f64), range_at: &dyn Fn((f32, f32), f32) -> (f32, f32)| {
            for i in (0..N_SHARES).rev() {
                let range = range_at(best.0, share(i));
                let own = error(range);
                if own < best.1 {
                    *best = (range, own);
                }
            }
        };
        if self.is_symmetric {
            let limit = max.max(-min);
            search(&mut best, &|_, share| (-limit * share, limit * share));
            return best.0;
        }
        let rounds = if min < 0.0 && max > 0.0 { 2 } else { 1 };
        for _ in 0..rounds {
            if max > 0.0 {
                search(&mut best, &|(lo, _), share| (lo, max * share));
            }
            if min < 0.0 {
                search(&mut best, &|(_, hi), share| (min * share, hi));
            }
        }
        best.0
    }
}

/// The first value that is left when this many are dropped.
fn first_inside(bins: impl Iterator<Item = (f32, u64)>, n_dropped: f64) -> f32 {
    let mut seen = 0.0;
    let mut last = 0.0;
    for (x, n) in bins {
        seen += n as f64;
        last = x;
        if seen > n_dropped {
            break;
        }
    }
    last
}

/// The threshold whose clipped distribution diverges least from its quantized form of `n_levels` levels.
///
/// Bins of the published method are as many as its levels, so that it has a single candidate; here they are 2048.
fn entropy_threshold(histogram: &Histogram, n_levels: usize) -> f32 {
    const N_BINS: usize = 2048;
    let (counts, limit) = histogram.around_zero(N_BINS);
    let counts: Vec<f64> = counts.into_iter().map(|n| n as f64).collect();
    let middle = counts.len() / 2;
    let mut best = (f64::INFINITY, middle);
    for half in (n_levels / 2).max(1)..=middle {
        let divergence = clipped_divergence(&counts, middle, half, n_levels);
        if divergence < best.0 {
            best = (divergence, half);
        }
    }
    (limit * best.1 as f64 / middle as f64) as f32
}

/// KL divergence of the window `middle ± half` with the outside in its end bins from the window merged into levels.
fn clipped_divergence(counts: &[f64], middle: usize, half: usize, n_levels: usize) -> f64 {
    let (start, end) = (middle - half, middle + half);
    let inside = &counts[start..end];
    let mut p = inside.to_vec();
    p[0] += counts[..start].iter().sum::<f64>();
    if let Some(last) = p.last_mut() {
        *last += counts[end..].iter().sum::<f64>();
    }
    let mut q = vec![0.0; inside.len()];
    let n_levels = n_levels.min(inside.len());
    for level in 0..n_levels {
        let (from, to) = (level * inside.len() / n_levels, (level + 1) * inside.len() / n_levels);
        let n_used = p[from..to].iter().filter(|&&n| n > 0.0).count();
        if n_used > 0 {
            let each = inside[from..to].iter().sum::<f64>() / n_used as f64;
            q[from..to].iter_mut().zip(&p[from..to]).filter(|(_, p)| **p > 0.0).for_each(|(q, _)| *q = each);
        }
    }
    divergence(&p, &q)
}

/// `Σ p log(p / q)` of two counts made distributions. Empty bins get a little from the others, so that it is finite.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let (Some(p), Some(q)) = (smoothed(p), smoothed(q)) else { return f64::INFINITY };
    p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum()
}

fn smoothed(counts: &[f64]) -> Option<Vec<f64>> {
    const EPSILON: f64 = 1e-4;
    let total: f64 = counts.iter().sum();
    let n_zeros = counts.iter().filter(|&&n| n == 0.0).count();
    let n_used = counts.len() - n_zeros;
    if n_used == 0 || total <= 0.0 {
        return None;
    }
    let taken = EPSILON * n_zeros as f64 / n_used as f64;
    let smooth = |n: f64| if n == 0.0 { EPSILON } else { (n - taken).max(EPSILON) };
    let sum: f64 = counts.iter().map(|&n| smooth(n)).sum();
    Some(counts.iter().map(|&n| smooth(n) / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(calibrate: Calibrate) -> RangeRule {
        let codes = Codes::unsigned(8);
        RangeRule { calibrate, percentile: 99.0, power: 2.0, is_symmetric: false, codes }
    }

    fn seen(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(values).unwrap();
        histogram
    }

    /// A bell curve of 10,000 values in -4..4, by its quantiles.
    fn bell() -> Vec<f32> {
        let mut values = Vec::new();
        for step in -400i32..=400 {
            let x = step as f32 / 100.0;
            let n = (40.0 * (-0.5 * x * x).exp()).round() as usize;
            values.extend(std::iter::repeat_n(x, n));
        }
        values
    }

    #[test]
    fn min_max_holds_everything_and_zero() {
        assert_eq!(rule(Calibrate::MinMax).range(&seen(&[1.0, 5.0])), (0.0, 5.0));
        assert_eq!(rule(Calibrate::MinMax).range(&seen(&[-3.0, -1.0])), (-3.0, 0.0));
        let symmetric = RangeRule { is_symmetric: true, ..rule(Calibrate::MinMax) };
        assert_eq!(symmetric.range(&seen(&[-3.0, 5.0])), (-5.0, 5.0));
        assert_eq!(rule(Calibrate::MinMax).range(&Histogram::default()), (0.0, 0.0));
    }

    #[test]
    fn a_percentile_cuts_half_its_share_on_each_side() {
        let values: Vec<f32> = (-500..=500).map(|i| i as f32 / 100.0).collect();
        let (lo, hi) = rule(Calibrate::Percentile).range(&seen(&values));
        // 1 % of 1,001 values: five go on each side.
        assert!((lo + 4.95).abs() < 0.011 && (hi - 4.95).abs() < 0.011, "{lo} {hi}");
        let symmetric = RangeRule { is_symmetric: true, ..rule(Calibrate::Percentile) };
        assert!((symmetric.range(&seen(&values)).1 - 4.95).abs() < 0.011);
        let all = RangeRule { percentile: 100.0, ..rule(Calibrate::Percentile) };
        let (lo, hi) = all.range(&seen(&values));
        assert!((lo + 5.0).abs() < 1e-3 && (hi - 5.0).abs() < 1e-3);
    }

    #[test]
    fn least_error_cuts_an_outlier_off_and_keeps_what_is_even() {
        let codes = Codes::unsigned(4);
        let rule = RangeRule { codes, ..rule(Calibrate::Mse) };
        let mut values = bell();
        values.push(12.0);
        let (lo, hi) = rule.range(&seen(&values));
        assert!(hi < 6.0 && hi > 2.0 && lo > -4.0 && lo < -2.0, "{lo} {hi}");
        let even: Vec<f32> = (0..=1000).map(|i| i as f32 / 1000.0).collect();
        let (_, hi) = RangeRule { codes: Codes::unsigned(8), ..rule }.range(&seen(&even));
        assert!(hi > 0.98, "{hi}");
    }

    #[test]
    fn a_larger_power_cuts_less() {
        let at =
            |power: f64| RangeRule { power, codes: Codes::unsigned(4), ..rule(Calibrate::Mse) }.range(&seen(&bell())).1;
        assert!(at(4.0) >= at(2.0), "{} {}", at(4.0), at(2.0));
    }

    #[test]
    fn entropy_cuts_far_outliers_off() {
        let mut values = bell();
        values.extend([40.0, -40.0]);
        let (lo, hi) = rule(Calibrate::Entropy).range(&seen(&values));
        assert!(hi > 2.0 && hi < 20.0 && lo < -2.0 && lo > -20.0, "{lo} {hi}");
    }

    #[test]
    fn divergence_is_zero_for_equal_counts_only() {
        assert!(divergence(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]).abs() < 1e-12);
        assert!(divergence(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) > 0.1);
        assert_eq!(divergence(&[0.0, 0.0], &[1.0, 1.0]), f64::INFINITY);
    }

    #[test]
    fn the_quantizer_of_a_range_that_cuts_negatives_still_has_zero() {
        let quantizer = rule(Calibrate::MinMax).quantizer((0.0, 6.0));
        assert_eq!((quantizer.zero_point, quantizer.round_trip(0.0)), (0, 0.0));
    }
}
