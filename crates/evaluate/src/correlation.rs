//! Correlation of two lists of numbers.

use crate::error::{EvaluateError, all_finite, same_len};

/// Pearson's correlation, in -1..1.
///
/// # Errors
/// Lengths that differ, no values, a value that is not finite, or a constant list.
pub fn pearson(left: &[f64], right: &[f64]) -> Result<f64, EvaluateError> {
    check(left, right)?;
    let ones = vec![1.0; left.len()];
    pearson_weighted(left, right, &ones).ok_or(EvaluateError::Constant { what: "one list", n: left.len() })
}

/// Spearman's rank correlation: Pearson's over average ranks, so ties are treated as SciPy does.
///
/// # Errors
/// Lengths that differ, no values, a value that is not finite, or a constant list.
pub fn spearman(left: &[f64], right: &[f64]) -> Result<f64, EvaluateError> {
    check(left, right)?;
    pearson(&average_ranks(left), &average_ranks(right))
}

fn check(left: &[f64], right: &[f64]) -> Result<(), EvaluateError> {
    same_len(("left", left.len()), ("right", right.len()))?;
    if left.is_empty() {
        return Err(EvaluateError::Empty { what: "correlation" });
    }
    for (what, values) in [("left", left), ("right", right)] {
        all_finite(what, values, 1)?;
        if values.iter().all(|value| *value == values[0]) {
            return Err(EvaluateError::Constant { what, n: values.len() });
        }
    }
    Ok(())
}

/// The rank of each value, from 1; equal values share the mean of their ranks. NaN sorts last.
#[must_use]
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    TieGroups::new(values).ranks(&vec![1.0; values.len()])
}

/// The order of a list, cut into groups of equal values; ranks any resample of it in one pass.
pub(crate) struct TieGroups {
    order: Vec<usize>,
    /// End of each group in `order`.
    ends: Vec<usize>,
}

impl TieGroups {
    pub(crate) fn new(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].partial_cmp(&values[b]).unwrap_or_else(|| values[a].total_cmp(&values[b])));
        let mut ends: Vec<usize> = (1..values.len()).filter(|&i| values[order[i]] != values[order[i - 1]]).collect();
        ends.push(values.len());
        Self { order, ends }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Average ranks when entry `i` occurs `weights[i]` times.
    pub(crate) fn ranks(&self, weights: &[f64]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.order.len()];
        let (mut start, mut before) = (0, 0.0);
        for &end in &self.ends {
            let group = &self.order[start..end];
            let weight: f64 = group.iter().map(|&i| weights[i]).sum();
            for &i in group {
                ranks[i] = before + (weight + 1.0) / 2.0;
            }
            before += weight;
            start = end;
        }
        ranks
    }
}

/// Pearson's correlation of weighted entries; `None` when a list is constant.
pub(crate) fn pearson_weighted(left: &[f64], right: &[f64], weights: &[f64]) -> Option<f64> {
    let total: f64 = weights.iter().sum();
    let mean = |values: &[f64]| values.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>() / total;
    let (mean_left, mean_right) = (mean(left), mean(right));
    let (mut cross, mut square_left, mut square_right) = (0.0, 0.0, 0.0);
    for ((l, r), w) in left.iter().zip(right).zip(weights) {
        let (l, r) = (l - mean_left, r - mean_right);
        cross += w * l * r;
        square_left += w * l * l;
        square_right += w * r * r;
    }
    let scale = (square_left * square_right).sqrt();
    (scale > 0.0).then(|| (cross / scale).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tied_values_share_their_mean_rank() {
        assert_eq!(average_ranks(&[10.0, 20.0, 10.0, 30.0, 10.0]), [2.0, 4.0, 2.0, 5.0, 2.0]);
        assert_eq!(average_ranks(&[]), [0.0; 0]);
        assert_eq!(average_ranks(&[0.0, -0.0]), [1.5, 1.5]);
    }

    /// `scipy.stats.spearmanr(x, y)`, `scipy.stats.pearsonr(x, y)`.
    #[test]
    fn correlations_match_scipy() {
        let x = [2.5, 0.3, 2.5, -1.0, 7.0, 4.4, 0.3, 2.5];
        let y = [1.0, 0.0, 3.0, 0.0, 2.0, 5.0, 1.0, 1.0];
        assert!((spearman(&x, &y).unwrap() - 0.816_455_696_202_531_8).abs() < 1e-14);
        assert!((pearson(&x, &y).unwrap() - 0.623_032_387_978_412).abs() < 1e-14);
    }

    #[test]
    fn impossible_correlations_are_errors() {
        assert!(matches!(spearman(&[1.0, 1.0], &[1.0, 2.0]), Err(EvaluateError::Constant { what: "left", n: 2 })));
        assert!(matches!(spearman(&[1.0], &[]), Err(EvaluateError::LengthMismatch { .. })));
        assert!(matches!(pearson(&[], &[]), Err(EvaluateError::Empty { .. })));
        assert!(matches!(pearson(&[1.0, f64::NAN], &[0.0, 1.0]), Err(EvaluateError::NotFinite { row: 1, .. })));
    }

    proptest! {
        #[test]
        fn spearman_ignores_monotone_changes(values in prop::collection::vec((-9i32..9, -9i32..9), 3..30)) {
            let (x, y): (Vec<f64>, Vec<f64>) = values.iter().map(|&(a, b)| (f64::from(a), f64::from(b))).unzip();
            let stretched: Vec<f64> = x.iter().map(|v| v.exp()).collect();
            match (spearman(&x, &y), spearman(&stretched, &y)) {
                (Ok(a), Ok(b)) => {
                    prop_assert!((a - b).abs() < 1e-12);
                    prop_assert!((spearman(&y, &x).unwrap() - a).abs() < 1e-12);
                }
                (a, b) => prop_assert_eq!(a.is_err(), b.is_err()),
            }
        }

        #[test]
        fn weighted_ranks_equal_the_ranks_of_the_repeated_list(values in prop::collection::vec((-4i32..4, 0usize..4), 1..20)) {
            let list: Vec<f64> = values.iter().map(|v| f64::from(v.0)).collect();
            let weights: Vec<f64> = values.iter().map(|v| v.1 as f64).collect();
            let repeated: Vec<f64> = values.iter().flat_map(|v| std::iter::repeat_n(f64::from(v.0), v.1)).collect();
            let expected = average_ranks(&repeated);
            let ranks = TieGroups::new(&list).ranks(&weights);
            let mut position = 0;
            for (i, value) in values.iter().enumerate() {
                for _ in 0..value.1 {
                    prop_assert!((ranks[i] - expected[position]).abs() < 1e-12);
                    position += 1;
                }
            }
        }
    }
}
