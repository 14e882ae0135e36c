//! Intervals by resampling, for numbers without a formula.
//!
//! Percentile bootstrap with a seeded ChaCha generator: examples are drawn with replacement, both networks always see
//! the same draw, and the 2.5 % and 97.5 % quantiles of the replicates (linear between neighbours) are the interval.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::correlation::{TieGroups, pearson_weighted, spearman};
use crate::error::EvaluateError;
use crate::proportion::Interval;

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapOptions {
    /// Seed of the generator.
    pub seed: u64,
    /// Number of resamples.
    pub replicates: usize,
}

impl Default for BootstrapOptions {
    fn default() -> Self {
        Self { seed: 0, replicates: 2000 }
    }
}

/// Interval of the mean of `values`, at least one.
///
/// # Errors
/// [`EvaluateError::Empty`] without values, [`EvaluateError::Setting`] without replicates.
pub fn bootstrap_mean(values: &[f64], options: &BootstrapOptions) -> Result<Interval, EvaluateError> {
    check(values.len(), options)?;
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let means = (0..options.replicates)
        .map(|_| (0..values.len()).map(|_| values[draw(&mut rng, values.len())]).sum::<f64>() / values.len() as f64)
        .collect();
    quantile_interval(means).ok_or(EvaluateError::Empty { what: "bootstrap" })
}

/// Interval of the rank correlation of `values` with `scores`.
///
/// # Errors
/// As [`spearman`], or [`EvaluateError::Setting`] without replicates.
pub fn bootstrap_spearman(
    values: &[f64],
    scores: &[f64],
    options: &BootstrapOptions,
) -> Result<Interval, EvaluateError> {
    spearman(values, scores)?;
    check(values.len(), options)?;
    let (values, scores) = (TieGroups::new(values), TieGroups::new(scores));
    let replicates = resample(scores.len(), options, |weights| {
        pearson_weighted(&values.ranks(weights), &scores.ranks(weights), weights)
    });
    Ok(quantile_interval(replicates).unwrap_or(Interval { low: -1.0, high: 1.0 }))
}

/// Interval of how much lower the rank correlation of `compressed` with `scores` is than that of `original`.
///
/// # Errors
/// As [`spearman`], or [`EvaluateError::Setting`] without replicates.
pub fn bootstrap_spearman_drop(
    original: &[f64],
    compressed: &[f64],
    scores: &[f64],
    options: &BootstrapOptions,
) -> Result<Interval, EvaluateError> {
    spearman(original, scores)?;
    spearman(compressed, scores)?;
    check(scores.len(), options)?;
    let [original, compressed, scores] = [original, compressed, scores].map(TieGroups::new);
    let replicates = resample(scores.len(), options, |weights| {
        let gold = scores.ranks(weights);
        let before = pearson_weighted(&original.ranks(weights), &gold, weights)?;
        let after = pearson_weighted(&compressed.ranks(weights), &gold, weights)?;
        Some(before - after)
    });
    Ok(quantile_interval(replicates).unwrap_or(Interval { low: -2.0, high: 2.0 }))
}

/// Calls `statistic` with how often each example was drawn; draws without a value (all equal) are left out.
fn resample(n: usize, options: &BootstrapOptions, statistic: impl Fn(&[f64]) -> Option<f64>) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut weights = vec![0.0; n];
    let mut replicates = Vec::with_capacity(options.replicates);
    for _ in 0..options.replicates {
        weights.fill(0.0);
        for _ in 0..n {
            weights[draw(&mut rng, n)] += 1.0;
        }
        replicates.extend(statistic(&weights));
    }
    replicates
}

fn check(n: usize, options: &BootstrapOptions) -> Result<(), EvaluateError> {
    if n == 0 {
        return Err(EvaluateError::Empty { what: "bootstrap" });
    }
    if options.replicates == 0 {
        return Err(EvaluateError::Setting { name: "replicates", value: 0.0, expected: "at least 1" });
    }
    Ok(())
}

/// A position below `n`: the high half of a 64-bit product. The bias is below `n / 2^64`.
fn draw(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// The 2.5 % and 97.5 % quantiles; `None` when no replicate had a value.
fn quantile_interval(mut replicates: Vec<f64>) -> Option<Interval> {
    if replicates.is_empty() {
        return None;
    }
    replicates.sort_unstable_by(f64::total_cmp);
    let quantile = |q: f64| {
        let position = q * (replicates.len() - 1) as f64;
        let below = position.floor() as usize;
        let above = (below + 1).min(replicates.len() - 1);
        replicates[below] + (replicates[above] - replicates[below]) * (position - below as f64)
    };
    Some(Interval { low: quantile(0.025), high: quantile(0.975) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_mean_interval_matches_the_normal_one() {
        // 8,000 ones and 2,000 zeros: standard error sqrt(.16 / 10000) = .004.
        let values: Vec<f64> = (0..10_000).map(|i| f64::from(i % 5 != 0)).collect();
        let ci = bootstrap_mean(&values, &BootstrapOptions { seed: 3, replicates: 1000 }).unwrap();
        assert!((ci.low - (0.8 - 1.96 * 0.004)).abs() < 0.001, "{ci:?}");
        assert!((ci.high - (0.8 + 1.96 * 0.004)).abs() < 0.001, "{ci:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17)).collect();
        let run = |seed| bootstrap_mean(&values, &BootstrapOptions { seed, replicates: 200 }).unwrap();
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn an_unchanged_network_has_no_drop() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 40)).collect();
        let scores: Vec<f64> = (0..40).map(|i| f64::from(i / 3)).collect();
        let ci = bootstrap_spearman_drop(&values, &values, &scores, &BootstrapOptions::default()).unwrap();
        assert_eq!(ci, Interval { low: 0.0, high: 0.0 });
    }

    #[test]
    fn the_spearman_interval_is_near_fishers() {
        // Fisher's z with the Bonett and Wright variance, computed below from the estimate itself.
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let values: Vec<f64> = (0..800).map(|_| uniform()).collect();
        let scores: Vec<f64> = values.iter().map(|v| v + 0.5 * uniform()).collect();
        let rho = spearman(&values, &scores).unwrap();
        let half = 1.96 * ((1.0 + rho * rho / 2.0) / 797.0).sqrt();
        let expected = [(rho.atanh() - half).tanh(), (rho.atanh() + half).tanh()];
        let ci = bootstrap_spearman(&values, &scores, &BootstrapOptions::default()).unwrap();
        assert!((ci.low - expected[0]).abs() < 0.01 && (ci.high - expected[1]).abs() < 0.01, "{ci:?} {expected:?}");
    }

    #[test]
    fn no_values_or_no_replicates_are_errors() {
        assert_eq!(bootstrap_mean(&[], &BootstrapOptions::default()), Err(EvaluateError::Empty { what: "bootstrap" }));
        let none = BootstrapOptions { seed: 0, replicates: 0 };
        assert!(matches!(bootstrap_mean(&[1.0], &none), Err(EvaluateError::Setting { name: "replicates", .. })));
    }

    proptest! {
        #[test]
        fn the_mean_interval_stays_within_the_values(values in prop::collection::vec(-5.0f64..5.0, 1..20), seed: u64) {
            let ci = bootstrap_mean(&values, &BootstrapOptions { seed, replicates: 50 }).unwrap();
            let min = values.iter().copied().fold(f64::INFINITY, f64::min);
            let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(min - 1e-9 <= ci.low && ci.low <= ci.high && ci.high <= max + 1e-9);
        }
    }
}
