//! Does the network know how sure it may be?

use serde::{Deserialize, Serialize};

use crate::error::EvaluateError;
use crate::outputs::{OutputKind, Outputs, probabilities};
use crate::topk::argmax;

/// Examples of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Lowest confidence, excluded (of an adaptive bin: the lowest that occurs, included).
    pub low: f64,
    /// Highest confidence, included.
    pub high: f64,
    /// Number of examples.
    pub count: u64,
    /// Their mean confidence; `None` for an empty bin.
    pub confidence: Option<f64>,
    /// The share of right answers; `None` for an empty bin.
    pub accuracy: Option<f64>,
}

impl CalibrationBin {
    /// `|accuracy − confidence|`, 0 for an empty bin.
    fn gap(&self) -> f64 {
        self.accuracy.zip(self.confidence).map_or(0.0, |(accuracy, confidence)| (accuracy - confidence).abs())
    }
}

/// Calibration errors and the reliability curve behind them. Confidence is the largest probability of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error over bins of equal width: `Σ count/n · |accuracy − confidence|`.
    pub ece: f64,
    /// The same over bins of equal count.
    pub adaptive_ece: f64,
    /// The largest gap of an equal-width bin.
    pub mce: f64,
    /// Mean negative log-likelihood of the labels, natural logarithm; probabilities below 1e-12 count as 1e-12.
    pub nll: f64,
    /// Mean over examples of `Σ (probability − one-hot)²`.
    pub brier: f64,
    /// The bins of equal width over 0..1.
    pub bins: Vec<CalibrationBin>,
    /// The bins of equal count, by rising confidence; fewer when there are fewer examples.
    pub adaptive_bins: Vec<CalibrationBin>,
}

/// The smallest probability a logarithm is taken of.
pub(crate) const PROBABILITY_FLOOR: f64 = 1e-12;

/// Calibration with `n_bins` bins; 15 is usual. Labels must be below the number of classes.
///
/// # Errors
/// [`EvaluateError::Setting`] without bins.
/// # Source
/// Guo et al. 2017, arXiv:1706.04599; equal-count bins: Nguyen and O'Connor 2015.
pub fn calibration(
    outputs: &Outputs<'_>,
    labels: &[usize],
    kind: OutputKind,
    n_bins: usize,
) -> Result<Calibration, EvaluateError> {
    if n_bins == 0 {
        return Err(EvaluateError::Setting { name: "n_bins", value: 0.0, expected: "at least 1" });
    }
    let mut answers = Vec::with_capacity(outputs.n_rows());
    let (mut nll, mut brier) = (0.0, 0.0);
    let mut row_probabilities = Vec::new();
    for (row, &label) in outputs.rows().zip(labels) {
        probabilities(row, kind, &mut row_probabilities);
        let answer = argmax(row);
        answers.push((row_probabilities[answer], answer == label));
        nll -= row_probabilities[label].max(PROBABILITY_FLOOR).ln();
        brier += row_probabilities.iter().map(|p| p * p).sum::<f64>() - 2.0 * row_probabilities[label] + 1.0;
    }
    let n = answers.len() as f64;
    let bins = equal_width(&answers, n_bins);
    let adaptive_bins = equal_count(&mut answers, n_bins);
    let expected = |bins: &[CalibrationBin]| bins.iter().map(|bin| bin.count as f64 / n * bin.gap()).sum();
    Ok(Calibration {
        ece: expected(&bins),
        adaptive_ece: expected(&adaptive_bins),
        mce: bins.iter().map(CalibrationBin::gap).fold(0.0, f64::max),
        nll: nll / n,
        brier: brier / n,
        bins,
        adaptive_bins,
    })
}

fn equal_width(answers: &[(f64, bool)], n_bins: usize) -> Vec<CalibrationBin> {
    let mut groups: Vec<Vec<(f64, bool)>> = vec![Vec::new(); n_bins];
    for answer in answers {
        let bin = (answer.0 * n_bins as f64).ceil() as usize;
        groups[bin.saturating_sub(1).min(n_bins - 1)].push(*answer);
    }
    let edge = |bin: usize| bin as f64 / n_bins as f64;
    groups.iter().enumerate().map(|(bin, group)| summarize(group, edge(bin), edge(bin + 1))).collect()
}

/// Cuts the answers, sorted by confidence, into groups whose sizes differ by at most one, the larger ones first.
fn equal_count(answers: &mut [(f64, bool)], n_bins: usize) -> Vec<CalibrationBin> {
    answers.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (size, larger) = (answers.len() / n_bins, answers.len() % n_bins);
    let mut rest: &[(f64, bool)] = answers;
    let mut bins = Vec::new();
    for bin in 0..n_bins {
        let (group, tail) = rest.split_at(size + usize::from(bin < larger));
        rest = tail;
        if let (Some(first), Some(last)) = (group.first(), group.last()) {
            bins.push(summarize(group, first.0, last.0));
        }
    }
    bins
}

fn summarize(group: &[(f64, bool)], low: f64, high: f64) -> CalibrationBin {
    let mean = |value: fn(&(f64, bool)) -> f64| {
        (!group.is_empty()).then(|| group.iter().map(value).sum::<f64>() / group.len() as f64)
    };
    CalibrationBin {
        low,
        high,
        count: group.len() as u64,
        confidence: mean(|answer| answer.0),
        accuracy: mean(|answer| f64::from(answer.1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ece_matches_the_hand_computation() {
        // Confidences .9 right, .9 wrong, .55 right, .7 right. Bins of .2: (.8, 1]: gap |.5 - .9| = .4, two of four;
        // (.4, .6]: gap .45, one of four; (.6, .8]: gap .3, one of four. ECE = .2 + .1125 + .075.
        let p = [0.9, 0.1, 0.9, 0.1, 0.55, 0.45, 0.3, 0.7];
        let outputs = Outputs::new(&p, 2).unwrap();
        let result = calibration(&outputs, &[0, 1, 0, 1], OutputKind::Probabilities, 5).unwrap();
        assert!((result.ece - 0.3875).abs() < 1e-6, "{}", result.ece);
        assert!((result.mce - 0.45).abs() < 1e-6);
        assert_eq!(result.bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [0, 0, 1, 1, 2]);
        assert_eq!(result.bins[0].accuracy, None);
        // -(ln .9 + ln .1 + ln .55 + ln .7) / 4 and 2·(.01 + .81 + .2025 + .09) / 4.
        assert!((result.nll - 0.840_614_4).abs() < 1e-5, "{}", result.nll);
        assert!((result.brier - 0.556_25).abs() < 1e-6, "{}", result.brier);
        // Two bins of two: (.55, .7) gap .375 and (.9, .9) gap .4.
        let two = calibration(&outputs, &[0, 1, 0, 1], OutputKind::Probabilities, 2).unwrap();
        assert!((two.adaptive_ece - 0.3875).abs() < 1e-6, "{}", two.adaptive_ece);
    }

    #[test]
    fn certain_and_right_is_perfect() {
        let outputs = Outputs::new(&[1.0, 0.0, 0.0, 1.0], 2).unwrap();
        let result = calibration(&outputs, &[0, 1], OutputKind::Probabilities, 15).unwrap();
        assert_eq!((result.ece, result.adaptive_ece, result.mce, result.nll, result.brier), (0.0, 0.0, 0.0, 0.0, 0.0));
        assert_eq!(result.adaptive_bins.len(), 2);
        assert!(matches!(calibration(&outputs, &[0, 1], OutputKind::Logits, 0), Err(EvaluateError::Setting { .. })));
    }

    proptest! {
        #[test]
        fn every_example_falls_into_one_bin(logits in prop::collection::vec(-9.0f32..9.0, 3..60), n_bins in 1usize..20) {
            let logits = &logits[..logits.len() / 3 * 3];
            let outputs = Outputs::new(logits, 3).unwrap();
            let labels = vec![1; outputs.n_rows()];
            let result = calibration(&outputs, &labels, OutputKind::Logits, n_bins).unwrap();
            for bins in [&result.bins, &result.adaptive_bins] {
                prop_assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), outputs.n_rows() as u64);
                for bin in bins.iter().filter(|bin| bin.count > 0) {
                    let confidence = bin.confidence.unwrap();
                    prop_assert!(bin.low - 1e-12 <= confidence && confidence <= bin.high + 1e-12);
                }
            }
            prop_assert!((0.0..=1.0).contains(&result.ece) && result.ece <= result.mce + 1e-12);
        }
    }
}
