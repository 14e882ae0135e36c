//! Area under the ROC curve, from ranks.

use crate::correlation::average_ranks;
use crate::error::{EvaluateError, all_finite, same_len};
use crate::outputs::{OutputKind, Outputs, check_labels};

/// The chance that a random positive scores above a random negative; a tie counts one half.
///
/// `(Σ ranks of positives − P(P+1)/2) / (P·N)` with average ranks.
///
/// # Errors
/// Lengths that differ, a score that is not finite, or examples of one class only.
pub fn auc_binary(scores: &[f64], is_positive: &[bool]) -> Result<f64, EvaluateError> {
    same_len(("scores", scores.len()), ("labels", is_positive.len()))?;
    if scores.is_empty() {
        return Err(EvaluateError::Empty { what: "AUC" });
    }
    all_finite("scores", scores, 1)?;
    let n_positive = is_positive.iter().filter(|positive| **positive).count();
    let n_negative = scores.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return Err(EvaluateError::OneClass { class: i64::from(n_negative == 0), n: scores.len() });
    }
    let rank_sum: f64 =
        average_ranks(scores).iter().zip(is_positive).filter(|(_, positive)| **positive).map(|(rank, _)| rank).sum();
    let (p, n) = (n_positive as f64, n_negative as f64);
    Ok((rank_sum - p * (p + 1.0) / 2.0) / (p * n))
}

/// One against the rest, averaged over the classes that have examples, each class weighing the same.
///
/// A class is ranked by its log probability, which orders as the probability does but does not saturate.
///
/// # Errors
/// Labels that do not fit, or examples of one class only.
pub fn auc_macro(outputs: &Outputs<'_>, labels: &[i64], kind: OutputKind) -> Result<f64, EvaluateError> {
    let labels = check_labels(outputs, labels)?;
    auc_macro_checked(outputs, &labels, kind)
}

pub(crate) fn auc_macro_checked(
    outputs: &Outputs<'_>,
    labels: &[usize],
    kind: OutputKind,
) -> Result<f64, EvaluateError> {
    let offsets: Vec<f64> = outputs.rows().map(|row| log_sum_exp(row, kind)).collect();
    let mut present = vec![false; outputs.n_classes()];
    for label in labels {
        present[*label] = true;
    }
    let classes: Vec<usize> = (0..outputs.n_classes()).filter(|class| present[*class]).collect();
    let mut sum = 0.0;
    for &class in &classes {
        let scores: Vec<f64> =
            outputs.rows().zip(&offsets).map(|(row, offset)| f64::from(row[class]) - offset).collect();
        let is_positive: Vec<bool> = labels.iter().map(|label| *label == class).collect();
        sum += auc_binary(&scores, &is_positive).map_err(|error| match error {
            EvaluateError::OneClass { n, .. } => EvaluateError::OneClass { class: class as i64, n },
            other => other,
        })?;
    }
    Ok(sum / classes.len() as f64)
}

fn log_sum_exp(row: &[f32], kind: OutputKind) -> f64 {
    if kind == OutputKind::Probabilities {
        return 0.0;
    }
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + row.iter().map(|value| (f64::from(*value) - max).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_golden_of_the_sheet_holds() {
        assert_eq!(auc_binary(&[0.9, 0.8, 0.3, 0.1], &[true, false, true, false]).unwrap(), 0.75);
    }

    #[test]
    fn ties_count_half() {
        assert_eq!(auc_binary(&[0.5; 6], &[true, false, true, false, false, true]).unwrap(), 0.5);
        // Positives .5, .9; negatives .5, .1: three wins and a tie of four.
        assert_eq!(auc_binary(&[0.5, 0.9, 0.5, 0.1], &[true, true, false, false]).unwrap(), 0.875);
    }

    /// `sklearn.metrics.roc_auc_score(y, scipy.special.softmax(z, 1), multi_class="ovr")`.
    #[test]
    fn macro_auc_matches_sklearn() {
        let z = [1.0, 0.2, -0.5, 0.3, 0.9, 0.1, -1.0, 0.4, 2.0, 0.0, 0.1, 0.2, 1.5, 1.4, 1.3, 0.7, -0.2, 0.6];
        let outputs = Outputs::new(&z, 3).unwrap();
        let auc = auc_macro(&outputs, &[0, 1, 2, 1, 0, 2], OutputKind::Logits).unwrap();
        assert!((auc - 0.958_333_333_333_333_4).abs() < 1e-12, "{auc}");
    }

    #[test]
    fn one_class_is_an_error() {
        assert_eq!(auc_binary(&[0.1, 0.2], &[true, true]), Err(EvaluateError::OneClass { class: 1, n: 2 }));
        let outputs = Outputs::new(&[0.0, 1.0, 1.0, 0.0], 2).unwrap();
        assert_eq!(auc_macro(&outputs, &[1, 1], OutputKind::Logits), Err(EvaluateError::OneClass { class: 1, n: 2 }));
    }

    proptest! {
        #[test]
        fn ranks_agree_with_counting_pairs(examples in prop::collection::vec((-4i32..4, any::<bool>()), 2..40)) {
            let scores: Vec<f64> = examples.iter().map(|e| f64::from(e.0)).collect();
            let positive: Vec<bool> = examples.iter().map(|e| e.1).collect();
            let (mut wins, mut pairs) = (0.0, 0.0);
            for (a, _) in examples.iter().filter(|e| e.1) {
                for (b, _) in examples.iter().filter(|e| !e.1) {
                    wins += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
                    pairs += 1.0;
                }
            }
            match auc_binary(&scores, &positive) {
                Ok(auc) => prop_assert!((auc - wins / pairs).abs() < 1e-12),
                Err(_) => prop_assert_eq!(pairs, 0.0),
            }
        }
    }
}
