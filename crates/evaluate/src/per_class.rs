//! Recall, precision and error rates of each class.

use serde::{Deserialize, Serialize};

use crate::confusion::Confusion;
use crate::proportion::{Interval, wilson};

/// The scores of one class, one against the rest. A ratio whose denominator is 0 is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// The class, counted from 0.
    pub class: usize,
    /// Number of examples with this label.
    pub support: u64,
    /// True positives.
    pub true_positives: u64,
    /// Examples of this class answered otherwise.
    pub false_negatives: u64,
    /// Examples of other classes answered with this one.
    pub false_positives: u64,
    /// TP / (TP + FN).
    pub recall: Option<f64>,
    /// Wilson interval of the recall.
    pub recall_ci: Option<Interval>,
    /// TP / (TP + FP).
    pub precision: Option<f64>,
    /// FN / (TP + FN), which is 1 - recall.
    pub fn_rate: Option<f64>,
    /// FP / (FP + TN).
    pub fp_rate: Option<f64>,
    /// 2 TP / (2 TP + FP + FN).
    pub f1: Option<f64>,
}

/// Scores of every class that occurs as a label or as an answer, in order of class.
#[must_use]
pub fn per_class(confusion: &Confusion) -> Vec<ClassScores> {
    let n_total: u64 = confusion.cells.iter().map(|cell| cell.count).sum();
    let mut support = vec![0; confusion.n_classes];
    let mut answered = vec![0; confusion.n_classes];
    for cell in &confusion.cells {
        support[cell.actual] += cell.count;
        answered[cell.predicted] += cell.count;
    }
    (0..confusion.n_classes)
        .filter(|&class| support[class] + answered[class] > 0)
        .map(|class| scores(class, confusion.get(class, class), support[class], answered[class], n_total))
        .collect()
}

fn scores(class: usize, hits: u64, support: u64, answered: u64, n_total: u64) -> ClassScores {
    let (false_negatives, false_positives) = (support - hits, answered - hits);
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    ClassScores {
        class,
        support,
        true_positives: hits,
        false_negatives,
        false_positives,
        recall: ratio(hits, support),
        recall_ci: (support > 0).then(|| wilson(hits, support)),
        precision: ratio(hits, answered),
        fn_rate: ratio(false_negatives, support),
        fp_rate: ratio(false_positives, n_total - support),
        f1: ratio(2 * hits, support + answered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scores_match_the_hand_count() {
        // Class 0: TP 1, FN 1, FP 1, TN 3. Class 2: TP 2, FN 1, FP 0, TN 3. Class 3 never occurs.
        let confusion = Confusion::count(&[0, 0, 1, 2, 2, 2], &[0, 1, 1, 0, 2, 2], 4);
        let scores = per_class(&confusion);
        assert_eq!(scores.len(), 3);
        assert_eq!((scores[0].recall, scores[0].precision), (Some(0.5), Some(0.5)));
        assert_eq!((scores[0].fn_rate, scores[0].fp_rate, scores[0].f1), (Some(0.5), Some(0.25), Some(0.5)));
        assert_eq!(scores[1].recall, Some(1.0));
        assert_eq!((scores[2].fn_rate, scores[2].fp_rate), (Some(1.0 / 3.0), Some(0.0)));
        assert_eq!(scores[2].f1, Some(0.8));
    }

    #[test]
    fn a_class_only_answered_has_no_recall() {
        let scores = per_class(&Confusion::count(&[0, 0], &[0, 1], 2));
        assert_eq!((scores[1].recall, scores[1].recall_ci), (None, None));
        assert_eq!((scores[1].precision, scores[1].fp_rate), (Some(0.0), Some(0.5)));
    }

    proptest! {
        #[test]
        fn counts_add_up(pairs in prop::collection::vec((0usize..5, 0usize..5), 1..60)) {
            let (labels, predicted): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            let scores = per_class(&Confusion::count(&labels, &predicted, 5));
            prop_assert_eq!(scores.iter().map(|s| s.support).sum::<u64>(), pairs.len() as u64);
            let wrong = pairs.iter().filter(|(a, b)| a != b).count() as u64;
            prop_assert_eq!(scores.iter().map(|s| s.false_negatives).sum::<u64>(), wrong);
            prop_assert_eq!(scores.iter().map(|s| s.false_positives).sum::<u64>(), wrong);
        }
    }
}
