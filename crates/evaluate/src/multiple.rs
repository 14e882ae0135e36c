//! Corrections for asking many questions at once, one a class.

/// Holm's step-down correction: adjusted p values in the given order. An adjusted value below α is significant with
/// the chance of any false alarm among all of them below α.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let n = p_values.len();
    let mut adjusted = vec![1.0; n];
    let mut largest = 0.0f64;
    for (rank, position) in ascending(p_values).into_iter().enumerate() {
        largest = largest.max((n - rank) as f64 * p_values[position]).min(1.0);
        adjusted[position] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's correction: adjusted p values in the given order. Among those below α at most a share of
/// α is expected to be false alarms.
#[must_use]
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let n = p_values.len();
    let mut adjusted = vec![1.0; n];
    let mut smallest = 1.0f64;
    for (rank, position) in ascending(p_values).into_iter().enumerate().rev() {
        smallest = smallest.min(n as f64 / (rank + 1) as f64 * p_values[position]);
        adjusted[position] = smallest;
    }
    adjusted
}

fn ascending(p_values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: [f64; 5] = [0.01, 0.04, 0.03, 0.005, 0.8];

    /// `statsmodels.stats.multitest.multipletests(p, method="holm")`; also by hand: .005·5, .01·4, .03·3, .04·2 → .09.
    #[test]
    fn holm_matches_the_hand_computation() {
        for (value, expected) in holm(&P).iter().zip([0.04, 0.09, 0.09, 0.025, 0.8]) {
            assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        }
        assert!(holm(&[]).is_empty());
    }

    /// By hand: .005·5/1, .01·5/2, .03·5/3, .04·5/4, .8, running minimum from the end.
    #[test]
    fn benjamini_hochberg_matches_the_hand_computation() {
        for (value, expected) in benjamini_hochberg(&P).iter().zip([0.025, 0.05, 0.05, 0.025, 0.8]) {
            assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        }
    }

    proptest! {
        #[test]
        fn corrections_never_lower_a_p_value(p in prop::collection::vec(0.0f64..=1.0, 0..30)) {
            for ((raw, bh), holm) in p.iter().zip(benjamini_hochberg(&p)).zip(holm(&p)) {
                prop_assert!(*raw <= bh + 1e-15 && bh <= holm + 1e-15 && holm <= 1.0);
            }
        }
    }
}
