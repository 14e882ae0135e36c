//! Is the difference between two networks on the same examples more than chance?

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::bootstrap::BootstrapOptions;

/// Two-sided p value of McNemar's exact test: under chance each changed answer is broken or fixed with equal odds.
///
/// `p = min(1, 2 · P(X <= min(broken, fixed)))`, X binomial with `broken + fixed` trials of ½. 1 when nothing changed.
#[must_use]
pub fn mcnemar_exact(broken: u64, fixed: u64) -> f64 {
    let (n, k) = (broken + fixed, broken.min(fixed));
    // Start from the largest term, in logarithms so that thousands of changes do not underflow, then walk down.
    let ln_largest: f64 = (1..=k).map(|j| ((n - k + j) as f64 / j as f64).ln()).sum::<f64>() - n as f64 * 2f64.ln();
    let (mut term, mut sum) = (1.0, 0.0);
    for i in (0..=k).rev() {
        sum += term;
        term *= i as f64 / (n - i + 1) as f64;
        if term < sum * f64::EPSILON * 0.01 {
            break;
        }
    }
    (2.0 * ln_largest.exp() * sum).min(1.0)
}

/// Two-sided p value that the mean of paired `differences` is 0, by flipping signs at random.
///
/// `(1 + hits) / (1 + replicates)`, so never 0. 1 for no differences.
#[must_use]
pub fn paired_permutation(differences: &[f64], options: &BootstrapOptions) -> f64 {
    let observed = differences.iter().sum::<f64>().abs();
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let hits = (0..options.replicates)
        .filter(|_| {
            let mut bits = 0;
            let mut sum = 0.0;
            for (position, difference) in differences.iter().enumerate() {
                if position % 64 == 0 {
                    bits = rng.next_u64();
                }
                sum += if bits & 1 == 1 { *difference } else { -difference };
                bits >>= 1;
            }
            // A flip that differs from the observed sum only by rounding counts as equal.
            sum.abs() >= observed * (1.0 - 1e-12)
        })
        .count();
    (1 + hits) as f64 / (1 + options.replicates) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `scipy.stats.binomtest(min(b, c), b + c).pvalue`.
    #[test]
    fn mcnemar_matches_scipy() {
        let goldens = [
            (12, 2, 0.012_939_453_125),
            (2, 12, 0.012_939_453_125),
            (1, 0, 1.0),
            (30, 30, 1.0),
            (700, 500, 8.535_366_081_034_316e-9),
            (0, 2000, 0.0),
        ];
        for (broken, fixed, expected) in goldens {
            let p = mcnemar_exact(broken, fixed);
            assert!((p - expected).abs() <= 1e-10 * expected, "{broken}, {fixed}: {p} against {expected}");
        }
        assert_eq!(mcnemar_exact(0, 0), 1.0);
    }

    #[test]
    fn permutation_approaches_the_exact_test() {
        // 12 broken, 2 fixed among 50: exact p is 0.012939453125.
        let mut differences = vec![0.0; 36];
        differences.extend([1.0; 12]);
        differences.extend([-1.0; 2]);
        let p = paired_permutation(&differences, &BootstrapOptions { seed: 1, replicates: 20_000 });
        assert!((p - 0.012_939_453_125).abs() < 0.004, "{p}");
        assert_eq!(paired_permutation(&[], &BootstrapOptions::default()), 1.0);
        assert_eq!(paired_permutation(&[0.0; 9], &BootstrapOptions::default()), 1.0);
    }

    proptest! {
        #[test]
        fn mcnemar_is_symmetric_and_a_probability(broken in 0u64..3000, fixed in 0u64..3000) {
            let p = mcnemar_exact(broken, fixed);
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert_eq!(p, mcnemar_exact(fixed, broken));
        }
    }
}
