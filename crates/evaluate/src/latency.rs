//! Percentiles of measured times.

use serde::{Deserialize, Serialize};

use crate::error::{EvaluateError, all_finite};

/// Times of one network, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of timed runs, warm-up excluded by the caller.
    pub n: u64,
    /// Half of the runs were at least this fast.
    pub p50_ms: f64,
    /// 90 % of the runs were at least this fast.
    pub p90_ms: f64,
    /// 99 % of the runs were at least this fast.
    pub p99_ms: f64,
    /// Mean time.
    pub mean_ms: f64,
    /// Fastest run.
    pub min_ms: f64,
    /// Slowest run.
    pub max_ms: f64,
    /// Why the times should not be trusted; `None` when the machine was quiet.
    pub noise: Option<String>,
}

impl Latency {
    /// Summarises times in the order they were taken.
    ///
    /// The machine counts as noisy when there are fewer than 10 runs, when p90 is more than 25 % above p50, or when
    /// the medians of the first and the second half differ by more than 10 % (a drift, such as a changing clock).
    ///
    /// # Errors
    /// [`EvaluateError::Empty`], [`EvaluateError::NotFinite`].
    pub fn from_ms(times_ms: &[f64]) -> Result<Self, EvaluateError> {
        if times_ms.is_empty() {
            return Err(EvaluateError::Empty { what: "times" });
        }
        all_finite("times", times_ms, 1)?;
        let mut sorted = times_ms.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let [p50_ms, p90_ms, p99_ms] = [0.5, 0.9, 0.99].map(|q| percentile(&sorted, q));
        Ok(Self {
            n: times_ms.len() as u64,
            p50_ms,
            p90_ms,
            p99_ms,
            mean_ms: times_ms.iter().sum::<f64>() / times_ms.len() as f64,
            min_ms: sorted[0],
            max_ms: sorted[sorted.len() - 1],
            noise: noise(times_ms, p50_ms, p90_ms),
        })
    }
}

/// Nearest-rank percentile of ascending values: the `⌈share · n⌉`-th smallest, so always a time that was measured.
///
/// `share` is 0..1; 0 gives the smallest. NaN for an empty list.
#[must_use]
pub fn percentile(ascending: &[f64], share: f64) -> f64 {
    // The tiny step keeps 0.9 · 10, which is just above 9 in some roundings, from giving the tenth.
    let rank = (share * ascending.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    ascending.get(rank.min(ascending.len()).wrapping_sub(1)).copied().unwrap_or(f64::NAN)
}

fn noise(times_ms: &[f64], p50: f64, p90: f64) -> Option<String> {
    if times_ms.len() < 10 {
        return Some(format!("only {} runs were timed; at least 10 are needed", times_ms.len()));
    }
    if p90 > 1.25 * p50 {
        return Some(format!("p90 is {:.0} % above p50", (p90 / p50 - 1.0) * 100.0));
    }
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_unstable_by(f64::total_cmp);
        percentile(&part, 0.5)
    };
    let (first, second) = times_ms.split_at(times_ms.len() / 2);
    let drift = median(second) / median(first) - 1.0;
    let side = if drift > 0.0 { "slower" } else { "faster" };
    (drift.abs() > 0.1)
        .then(|| format!("the second half of the runs was {:.0} % {side} than the first", drift.abs() * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let ascending: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(
            [0.0, 0.1, 0.11, 0.5, 0.9, 0.99, 1.0].map(|q| percentile(&ascending, q)),
            [1.0, 1.0, 2.0, 5.0, 9.0, 10.0, 10.0]
        );
        assert_eq!(percentile(&[3.0], 0.5), 3.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn noise_is_named() {
        let quiet = Latency::from_ms(&[1.0, 1.01, 1.02, 1.0, 1.0, 1.03, 1.0, 1.01, 1.0, 1.02]).unwrap();
        assert_eq!(quiet.noise, None);
        let few = Latency::from_ms(&[1.0; 3]).unwrap();
        assert_eq!(few.noise.unwrap(), "only 3 runs were timed; at least 10 are needed");
        let mut wide = vec![1.0; 8];
        wide.extend([2.0; 4]);
        assert_eq!(Latency::from_ms(&wide).unwrap().noise.unwrap(), "p90 is 100 % above p50");
        let mut drift = vec![1.0; 10];
        drift.extend([1.2; 10]);
        let noise = Latency::from_ms(&drift).unwrap().noise.unwrap();
        assert_eq!(noise, "the second half of the runs was 20 % slower than the first");
    }

    #[test]
    fn no_times_and_nan_are_errors() {
        assert_eq!(Latency::from_ms(&[]), Err(EvaluateError::Empty { what: "times" }));
        assert!(matches!(Latency::from_ms(&[1.0, f64::NAN]), Err(EvaluateError::NotFinite { row: 1, .. })));
    }

    proptest! {
        #[test]
        fn percentiles_are_ordered_measurements(times in prop::collection::vec(0.01f64..9.0, 1..40)) {
            let latency = Latency::from_ms(&times).unwrap();
            let order = [latency.min_ms, latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.max_ms];
            prop_assert!(order.is_sorted());
            prop_assert!(order.iter().all(|value| times.contains(value)));
        }
    }
}
