//! A checked view of a network's outputs: rows of class scores.

use serde::{Deserialize, Serialize};

use crate::error::{EvaluateError, all_finite};

/// How a row of outputs is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// Unnormalised scores; a softmax makes them probabilities.
    Logits,
    /// The network ends in a softmax: rows are probabilities already, up to rounding.
    Probabilities,
}

/// Rows of finite class scores, `[n_rows, n_classes]`, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    values: &'a [f32],
    n_classes: usize,
}

impl<'a> Outputs<'a> {
    /// Checks that `values` are whole rows of at least two finite values, and at least one row.
    ///
    /// # Errors
    /// [`EvaluateError::TooFewColumns`], [`EvaluateError::Empty`], [`EvaluateError::NotRows`],
    /// [`EvaluateError::NotFinite`].
    pub fn new(values: &'a [f32], n_classes: usize) -> Result<Self, EvaluateError> {
        if n_classes < 2 {
            return Err(EvaluateError::TooFewColumns { n_classes });
        }
        if values.is_empty() {
            return Err(EvaluateError::Empty { what: "outputs" });
        }
        if !values.len().is_multiple_of(n_classes) {
            return Err(EvaluateError::NotRows { what: "outputs", len: values.len(), row_len: n_classes });
        }
        all_finite("outputs", values, n_classes)?;
        Ok(Self { values, n_classes })
    }

    /// Number of examples.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.n_classes
    }

    /// Number of classes, at least 2.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// All values, row-major.
    #[must_use]
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The rows in order.
    pub fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.n_classes)
    }

    /// Whether the rows look like probabilities: nothing below 0 and every row sums to 1 within 2 %.
    ///
    /// Quantized softmax outputs are a little off 1, hence the tolerance. A row of logits can pass by accident, all
    /// rows of a test set hardly.
    #[must_use]
    pub fn guess_kind(&self) -> OutputKind {
        let is_distribution = |row: &[f32]| {
            row.iter().all(|value| *value >= 0.0)
                && (row.iter().map(|value| f64::from(*value)).sum::<f64>() - 1.0).abs() <= 0.02
        };
        if self.rows().all(is_distribution) { OutputKind::Probabilities } else { OutputKind::Logits }
    }
}

/// Writes the probabilities of one row into `out`, in f64: softmax of logits, or probabilities divided by their sum.
///
/// A row that should hold probabilities but sums to nothing becomes uniform.
pub(crate) fn probabilities(row: &[f32], kind: OutputKind, out: &mut Vec<f64>) {
    out.clear();
    match kind {
        OutputKind::Logits => {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            out.extend(row.iter().map(|value| (f64::from(*value) - f64::from(max)).exp()));
        }
        OutputKind::Probabilities => out.extend(row.iter().map(|value| f64::from(*value).max(0.0))),
    }
    let sum: f64 = out.iter().sum();
    let uniform = 1.0 / out.len() as f64;
    for value in out.iter_mut() {
        *value = if sum > 0.0 { *value / sum } else { uniform };
    }
}

/// Checks labels against the outputs and gives them as positions.
pub(crate) fn check_labels(outputs: &Outputs<'_>, labels: &[i64]) -> Result<Vec<usize>, EvaluateError> {
    crate::error::same_len(("outputs", outputs.n_rows()), ("labels", labels.len()))?;
    labels
        .iter()
        .enumerate()
        .map(|(row, &label)| {
            usize::try_from(label)
                .ok()
                .filter(|class| *class < outputs.n_classes())
                .ok_or(EvaluateError::LabelOutOfRange { row, label, n_classes: outputs.n_classes() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_outputs_are_typed_errors() {
        assert_eq!(Outputs::new(&[1.0], 1).unwrap_err(), EvaluateError::TooFewColumns { n_classes: 1 });
        assert_eq!(Outputs::new(&[], 2).unwrap_err(), EvaluateError::Empty { what: "outputs" });
        assert_eq!(
            Outputs::new(&[1.0; 5], 2).unwrap_err(),
            EvaluateError::NotRows { what: "outputs", len: 5, row_len: 2 }
        );
        let error = Outputs::new(&[0.0, 1.0, f32::NAN, f32::INFINITY], 2).unwrap_err();
        assert!(matches!(error, EvaluateError::NotFinite { row: 1, column: 0, n_bad: 2, n_total: 4, .. }), "{error:?}");
        assert!(!error.hint().is_empty());
    }

    #[test]
    fn labels_outside_the_classes_are_named() {
        let outputs = Outputs::new(&[0.0; 4], 2).unwrap();
        assert_eq!(check_labels(&outputs, &[0, 1]).unwrap(), [0, 1]);
        assert_eq!(
            check_labels(&outputs, &[0, 2]).unwrap_err(),
            EvaluateError::LabelOutOfRange { row: 1, label: 2, n_classes: 2 }
        );
        assert_eq!(
            check_labels(&outputs, &[-1, 0]).unwrap_err(),
            EvaluateError::LabelOutOfRange { row: 0, label: -1, n_classes: 2 }
        );
        assert!(matches!(
            check_labels(&outputs, &[0]),
            Err(EvaluateError::LengthMismatch { left_len: 2, right_len: 1, .. })
        ));
    }

    #[test]
    fn softmax_outputs_are_told_from_logits() {
        assert_eq!(Outputs::new(&[0.25, 0.74, 1.0, 0.0], 2).unwrap().guess_kind(), OutputKind::Probabilities);
        assert_eq!(Outputs::new(&[0.25, 0.75, 3.0, 0.0], 2).unwrap().guess_kind(), OutputKind::Logits);
        assert_eq!(Outputs::new(&[-0.5, 1.5], 2).unwrap().guess_kind(), OutputKind::Logits);
    }

    #[test]
    fn probabilities_survive_large_logits_and_empty_rows() {
        let mut out = Vec::new();
        probabilities(&[3e38, -3e38], OutputKind::Logits, &mut out);
        assert_eq!(out, [1.0, 0.0]);
        probabilities(&[0.0, 0.0], OutputKind::Probabilities, &mut out);
        assert_eq!(out, [0.5, 0.5]);
        probabilities(&[0.5, 0.5 + 0.01], OutputKind::Probabilities, &mut out);
        assert!((out.iter().sum::<f64>() - 1.0).abs() < 1e-15);
    }
}
