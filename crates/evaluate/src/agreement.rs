//! How near two networks' outputs are, labels or not.

use serde::{Deserialize, Serialize};

use crate::calibration::PROBABILITY_FLOOR;
use crate::error::{EvaluateError, all_finite, same_len};
use crate::outputs::{OutputKind, probabilities};
use crate::proportion::Proportion;
use crate::topk::argmax;

/// How near the outputs of a compressed network are to those of the original, on the same inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Number of rows compared, one an example.
    pub n_rows: u64,
    /// Values a row.
    pub row_len: u64,
    /// Largest `|original − compressed|`.
    pub max_abs_error: f64,
    /// The row that holds it.
    pub worst_row: u64,
    /// Mean of `|original − compressed|`.
    pub mean_abs_error: f64,
    /// `‖original − compressed‖₂ / ‖original‖₂` over all values; `None` when the original is all 0.
    pub relative_error: Option<f64>,
    /// Mean over rows of the cosine between the two; a zero row against a non-zero one counts as 0.
    pub mean_cosine: f64,
    /// The smallest cosine of a row.
    pub min_cosine: f64,
    /// Mean KL divergence of the class probabilities, in nats; `None` unless the outputs are class scores.
    pub mean_kl: Option<f64>,
    /// Largest KL divergence of a row, in nats.
    pub max_kl: Option<f64>,
    /// Mean cross-entropy of the compressed network's class probabilities against the original's, −Σ p ln q, in nats; at least the mean
    /// entropy of p, and that plus the mean KL divergence.
    #[serde(default)]
    pub mean_cross_entropy: Option<f64>,
    /// Share of rows with the same top1 answer; `None` unless the outputs are class scores.
    pub same_top1: Option<Proportion>,
}

/// Compares two outputs in rows of `row_len` values. `kind` says how rows give probabilities; `None` when they are
/// not class scores (embeddings, maps, boxes).
///
/// KL is `Σ p · ln(p / q)`, p of the original; probabilities below 1e-12 count as 1e-12.
///
/// # Errors
/// Lengths that differ, no values, values that do not form rows, or a value that is not finite.
pub fn agreement(
    original: &[f32],
    compressed: &[f32],
    row_len: usize,
    kind: Option<OutputKind>,
) -> Result<Agreement, EvaluateError> {
    same_len(("original output", original.len()), ("compressed output", compressed.len()))?;
    if original.is_empty() {
        return Err(EvaluateError::Empty { what: "outputs" });
    }
    if row_len == 0 || !original.len().is_multiple_of(row_len) {
        return Err(EvaluateError::NotRows { what: "outputs", len: original.len(), row_len });
    }
    all_finite("original output", original, row_len)?;
    all_finite("compressed output", compressed, row_len)?;

    let mut sums = Sums { min_cosine: f64::INFINITY, ..Sums::default() };
    for (row, (before, after)) in original.chunks_exact(row_len).zip(compressed.chunks_exact(row_len)).enumerate() {
        sums.add(row, before, after, kind);
    }
    let n_rows = original.len() / row_len;
    let n = n_rows as f64;
    Ok(Agreement {
        n_rows: n_rows as u64,
        row_len: row_len as u64,
        max_abs_error: sums.max_abs_error,
        worst_row: sums.worst_row as u64,
        mean_abs_error: sums.abs_error / original.len() as f64,
        relative_error: (sums.square > 0.0).then(|| (sums.square_error / sums.square).sqrt()),
        mean_cosine: sums.cosine / n,
        min_cosine: sums.min_cosine,
        mean_kl: kind.map(|_| sums.kl / n),
        max_kl: kind.map(|_| sums.max_kl),
        mean_cross_entropy: kind.map(|_| sums.cross_entropy / n),
        same_top1: kind.map(|_| Proportion::new(sums.same_top1, n_rows as u64)),
    })
}

#[derive(Default)]
struct Sums {
    max_abs_error: f64,
    worst_row: usize,
    abs_error: f64,
    square_error: f64,
    square: f64,
    cosine: f64,
    min_cosine: f64,
    kl: f64,
    max_kl: f64,
    cross_entropy: f64,
    same_top1: u64,
    p: Vec<f64>,
    q: Vec<f64>,
}

impl Sums {
    fn add(&mut self, row: usize, before: &[f32], after: &[f32], kind: Option<OutputKind>) {
        for (b, a) in before.iter().zip(after) {
            let (b, a) = (f64::from(*b), f64::from(*a));
            let error = (b - a).abs();
            if error > self.max_abs_error {
                (self.max_abs_error, self.worst_row) = (error, row);
            }
            self.abs_error += error;
            self.square_error += error * error;
            self.square += b * b;
        }
        let cosine = cosine(before, after);
        self.cosine += cosine;
        self.min_cosine = self.min_cosine.min(cosine);
        if let Some(kind) = kind {
            probabilities(before, kind, &mut self.p);
            probabilities(after, kind, &mut self.q);
            let kl: f64 = self
                .p
                .iter()
                .zip(&self.q)
                .map(|(p, q)| p * (p.max(PROBABILITY_FLOOR) / q.max(PROBABILITY_FLOOR)).ln())
                .sum();
            // Rounding can leave a tiny negative number where the rows are equal.
            let kl = kl.max(0.0);
            self.kl += kl;
            self.max_kl = self.max_kl.max(kl);
            self.cross_entropy -=
                self.p.iter().zip(&self.q).map(|(p, q)| p * q.max(PROBABILITY_FLOOR).ln()).sum::<f64>();
            self.same_top1 += u64::from(argmax(before) == argmax(after));
        }
    }
}

/// Cosine of the angle between two vectors, in f64; 1 for two zero vectors, 0 for one.
pub(crate) fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let (mut dot, mut square_left, mut square_right) = (0.0, 0.0, 0.0);
    for (l, r) in left.iter().zip(right) {
        let (l, r) = (f64::from(*l), f64::from(*r));
        dot += l * r;
        square_left += l * l;
        square_right += r * r;
    }
    let scale = (square_left * square_right).sqrt();
    if scale > 0.0 { (dot / scale).clamp(-1.0, 1.0) } else { f64::from(square_left == square_right) }
}

/// The error of one layer's output, compressed against original.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerError {
    /// Name of the value.
    pub name: String,
    /// Largest absolute error.
    pub max_abs_error: f64,
    /// Relative error; `None` when the original output is all 0.
    pub relative_error: Option<f64>,
    /// The example with the largest error.
    pub worst_row: u64,
}

/// The first layer that leaves the tolerance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Position in the list given, from 0.
    pub position: u64,
    /// The layer.
    pub layer: LayerError,
    /// The relative error allowed.
    pub tolerance: f64,
}

/// The first of `layers`, in the order they run, whose relative error is above `tolerance` (or, where the original
/// is all 0, whose absolute error is).
#[must_use]
pub fn first_divergence(layers: &[LayerError], tolerance: f64) -> Option<Divergence> {
    let (position, layer) =
        layers.iter().enumerate().find(|(_, layer)| layer.relative_error.unwrap_or(layer.max_abs_error) > tolerance)?;
    Some(Divergence { position: position as u64, layer: layer.clone(), tolerance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn errors_match_the_hand_computation() {
        let result = agreement(&[3.0, 4.0, 0.0, 1.0], &[3.0, 3.0, 0.0, 1.5], 2, None).unwrap();
        assert_eq!((result.max_abs_error, result.worst_row, result.mean_abs_error), (1.0, 0, 0.375));
        assert!((result.relative_error.unwrap() - (1.25f64 / 26.0).sqrt()).abs() < 1e-15);
        let cosine = 21.0 / (5.0 * 18f64.sqrt());
        assert!((result.mean_cosine - f64::midpoint(cosine, 1.0)).abs() < 1e-15);
        assert!((result.min_cosine - cosine).abs() < 1e-15);
        assert_eq!((result.mean_kl, result.same_top1), (None, None));
    }

    /// `scipy.stats.entropy([.5, .5], [.9, .1])` is 0.5108256237659907.
    #[test]
    fn kl_matches_scipy() {
        let result = agreement(&[0.0, 0.0], &[9f32.ln(), 0.0], 2, Some(OutputKind::Logits)).unwrap();
        assert!((result.mean_kl.unwrap() - 0.510_825_623_765_990_7).abs() < 1e-6, "{:?}", result.mean_kl);
        assert_eq!(result.same_top1.unwrap().count, 1, "a tie goes to class 0, which also wins after");
    }

    #[test]
    fn zero_rows_have_a_cosine() {
        let result = agreement(&[0.0; 4], &[0.0, 0.0, 1.0, 0.0], 2, None).unwrap();
        assert_eq!((result.mean_cosine, result.min_cosine, result.relative_error), (0.5, 0.0, None));
    }

    #[test]
    fn outputs_that_cannot_be_compared_are_errors() {
        assert!(matches!(agreement(&[1.0], &[], 1, None), Err(EvaluateError::LengthMismatch { .. })));
        assert!(matches!(agreement(&[], &[], 1, None), Err(EvaluateError::Empty { .. })));
        assert!(matches!(agreement(&[1.0], &[1.0], 0, None), Err(EvaluateError::NotRows { .. })));
        let nan = agreement(&[1.0, 2.0], &[1.0, f32::NAN], 2, None).unwrap_err();
        assert!(matches!(nan, EvaluateError::NotFinite { what: "compressed output", row: 0, column: 1, .. }));
    }

    #[test]
    fn the_first_layer_above_the_tolerance_is_named() {
        let layer = |name: &str, relative_error, max_abs_error| LayerError {
            name: name.into(),
            max_abs_error,
            relative_error,
            worst_row: 3,
        };
        let layers = [
            layer("a", Some(1e-3), 9.0),
            layer("b", None, 0.0),
            layer("c", Some(0.2), 0.1),
            layer("d", Some(0.9), 1.0),
        ];
        let found = first_divergence(&layers, 0.1).unwrap();
        assert_eq!((found.position, found.layer.name.as_str()), (2, "c"));
        assert_eq!(first_divergence(&layers[..2], 0.1), None);
    }

    proptest! {
        #[test]
        fn a_network_agrees_with_itself(values in prop::collection::vec(-50.0f32..50.0, 4..40)) {
            let values = &values[..values.len() / 4 * 4];
            let same = agreement(values, values, 4, Some(OutputKind::Logits)).unwrap();
            prop_assert_eq!((same.max_abs_error, same.mean_kl), (0.0, Some(0.0)));
            prop_assert!(same.min_cosine > 1.0 - 1e-12);
            prop_assert_eq!(same.same_top1.unwrap().value, 1.0);
        }

        #[test]
        fn kl_is_never_negative(pairs in prop::collection::vec((-90.0f32..90.0, -90.0f32..90.0), 3..30)) {
            let pairs = &pairs[..pairs.len() / 3 * 3];
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let result = agreement(&a, &b, 3, Some(OutputKind::Logits)).unwrap();
            prop_assert!(result.mean_kl.unwrap() >= 0.0 && result.max_kl.unwrap() >= result.mean_kl.unwrap());
        }
    }
}
