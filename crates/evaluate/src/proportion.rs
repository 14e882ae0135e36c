//! Shares with their intervals.

use serde::{Deserialize, Serialize};

/// The standard normal quantile of 0.975, for two-sided 95 % intervals.
const Z: f64 = 1.959_963_984_540_054;

/// A closed interval that holds the true value with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// A share of examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// `count / n`.
    pub value: f64,
    /// Number of examples counted.
    pub count: u64,
    /// Number of all examples.
    pub n: u64,
    /// Wilson interval.
    pub ci: Interval,
}

impl Proportion {
    /// `count` of `n` examples, `n` above 0.
    #[must_use]
    pub fn new(count: u64, n: u64) -> Self {
        Self { value: if n == 0 { 0.0 } else { count as f64 / n as f64 }, count, n, ci: wilson(count, n) }
    }
}

/// Wilson's 95 % score interval of the share `count / n`; 0..1 when `n` is 0.
///
/// # Source
/// Wilson 1927; recommended by Brown, Cai, DasGupta 2001.
#[must_use]
pub fn wilson(count: u64, n: u64) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (count, n_f) = (count as f64, n as f64);
    let share = count / n_f;
    let denominator = 1.0 + Z * Z / n_f;
    let centre = (share + Z * Z / (2.0 * n_f)) / denominator;
    let half = Z * (share * (1.0 - share) / n_f + Z * Z / (4.0 * n_f * n_f)).sqrt() / denominator;
    // At the ends the formula gives 0 and 1 up to rounding; make them exact.
    let low = if count == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if count == n_f { 1.0 } else { (centre + half).min(1.0) };
    Interval { low, high }
}

/// 95 % interval of the drop of a share between two paired measurements of the same examples.
///
/// Of `n` examples `both` were right before and after, `broken` only before, `fixed` only after; the drop is
/// `(broken - fixed) / n`. Useful down to a handful of examples, where a bootstrap collapses to a point.
///
/// # Source
/// Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on paired
/// data", method 10 (square-and-add of Wilson limits, correlation with continuity correction).
#[must_use]
pub fn newcombe_paired(both: u64, broken: u64, fixed: u64, n: u64) -> Interval {
    if n == 0 {
        return Interval { low: -1.0, high: 1.0 };
    }
    let neither = n.saturating_sub(both + broken + fixed);
    let [a, b, c, d, n_f] = [both, broken, fixed, neither, n].map(|count| count as f64);
    let (before, after) = ((a + b) / n_f, (a + c) / n_f);
    let (ci_before, ci_after) = (wilson(both + broken, n), wilson(both + fixed, n));

    let margins = (a + b) * (c + d) * (a + c) * (b + d);
    let cross = a * d - b * c;
    let corrected = if cross > 0.0 { (cross - n_f / 2.0).max(0.0) } else { cross };
    let phi = if margins > 0.0 { corrected / margins.sqrt() } else { 0.0 };

    let distance = |x: f64, y: f64| (x * x - 2.0 * phi * x * y + y * y).max(0.0).sqrt();
    let drop = before - after;
    Interval {
        low: (drop - distance(before - ci_before.low, ci_after.high - after)).max(-1.0),
        high: (drop + distance(ci_before.high - before, after - ci_after.low)).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `statsmodels.stats.proportion.proportion_confint(k, n, method="wilson")`.
    #[test]
    fn wilson_matches_statsmodels() {
        let goldens = [
            (9173, 10_000, 0.911_740_121_686_308_6, 0.922_539_393_273_523_5),
            (180, 200, 0.850_594_187_567_282_6, 0.934_329_551_330_904_1),
            (0, 7, 0.0, 0.354_330_435_066_687_5),
            (3, 3, 0.438_502_968_244_954_44, 1.0),
        ];
        for (count, n, low, high) in goldens {
            let ci = wilson(count, n);
            assert!((ci.low - low).abs() < 1e-12 && (ci.high - high).abs() < 1e-12, "{count}/{n}: {ci:?}");
        }
    }

    /// Newcombe 1998, table III, method 10, to its four decimals.
    #[test]
    fn newcombe_matches_its_paper() {
        let ci = newcombe_paired(36, 12, 2, 50);
        assert!((ci.low - 0.0569).abs() < 5e-5 && (ci.high - 0.3404).abs() < 5e-5, "{ci:?}");
    }

    #[test]
    fn nothing_known_gives_the_widest_interval() {
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
        assert_eq!(newcombe_paired(0, 0, 0, 0), Interval { low: -1.0, high: 1.0 });
        assert_eq!(wilson(5, 5).high, 1.0);
        assert_eq!(wilson(0, 5).low, 0.0);
    }

    proptest! {
        #[test]
        fn intervals_hold_the_estimate((both, broken, fixed, neither) in (0u64..40, 0u64..40, 0u64..40, 1u64..40)) {
            let n = both + broken + fixed + neither;
            prop_assert!(wilson(both, n).contains(both as f64 / n as f64));
            let drop = (broken as f64 - fixed as f64) / n as f64;
            let (forth, back) = (newcombe_paired(both, broken, fixed, n), newcombe_paired(both, fixed, broken, n));
            prop_assert!(forth.low <= drop + 1e-12 && drop <= forth.high + 1e-12);
            prop_assert!((forth.low + back.high).abs() < 1e-12, "swapping the networks mirrors the interval");
        }
    }
}
