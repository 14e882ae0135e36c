//! Judging embeddings: does the cosine of a pair follow its similarity score?

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::agreement::{Agreement, agreement, cosine};
use crate::bootstrap::{BootstrapOptions, bootstrap_spearman, bootstrap_spearman_drop};
use crate::comparison::Drop;
use crate::correlation::{average_ranks, pearson, spearman};
use crate::error::{EvaluateError, all_finite, same_len};
use crate::proportion::Interval;

/// What an embedding network is worth on pairs with similarity scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingJudgement {
    /// Number of pairs.
    pub n_pairs: u64,
    /// Length of an embedding.
    pub dim: u64,
    /// Rank correlation of the cosine of a pair with its score.
    pub spearman: f64,
    /// Its bootstrap interval.
    pub spearman_ci: Interval,
    /// Linear correlation of the cosine of a pair with its score.
    pub pearson: f64,
}

/// What compressing did to an embedding network. Both networks saw the same pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingComparison {
    /// Drop of the rank correlation.
    pub spearman: Drop,
    /// Drop of the linear correlation.
    pub pearson_drop: f64,
    /// How near the embeddings are, one row each.
    pub agreement: Agreement,
}

/// Cosine of each pair of embeddings, both `[n, dim]` row-major; the embeddings need not be normalised.
///
/// # Errors
/// Lengths that differ, no values, values that do not form rows, or a value that is not finite.
pub fn cosine_of_pairs(left: &[f32], right: &[f32], dim: usize) -> Result<Vec<f64>, EvaluateError> {
    same_len(("left embeddings", left.len()), ("right embeddings", right.len()))?;
    if left.is_empty() {
        return Err(EvaluateError::Empty { what: "embeddings" });
    }
    if dim == 0 || !left.len().is_multiple_of(dim) {
        return Err(EvaluateError::NotRows { what: "embeddings", len: left.len(), row_len: dim });
    }
    all_finite("left embeddings", left, dim)?;
    all_finite("right embeddings", right, dim)?;
    Ok(left.chunks_exact(dim).zip(right.chunks_exact(dim)).map(|(l, r)| cosine(l, r)).collect())
}

/// Judges pairs of embeddings, `left` and `right` `[n, dim]` row-major, against `scores` of length n.
///
/// # Errors
/// Every way the data can be unfit: see [`EvaluateError`].
pub fn judge_pairs(
    left: &[f32],
    right: &[f32],
    dim: usize,
    scores: &[f64],
    bootstrap: &BootstrapOptions,
) -> Result<EmbeddingJudgement, EvaluateError> {
    let similarity = cosine_of_pairs(left, right, dim)?;
    Ok(EmbeddingJudgement {
        n_pairs: similarity.len() as u64,
        dim: dim as u64,
        spearman: spearman(&similarity, scores)?,
        spearman_ci: bootstrap_spearman(&similarity, scores, bootstrap)?,
        pearson: pearson(&similarity, scores)?,
    })
}

/// Compares two networks on the same pairs; each side is `(left, right)`, both `[n, dim]` row-major.
///
/// # Errors
/// Every way the data can be unfit: see [`EvaluateError`].
pub fn compare_pairs(
    original: (&[f32], &[f32]),
    compressed: (&[f32], &[f32]),
    dim: usize,
    scores: &[f64],
    bootstrap: &BootstrapOptions,
) -> Result<EmbeddingComparison, EvaluateError> {
    let before = cosine_of_pairs(original.0, original.1, dim)?;
    let after = cosine_of_pairs(compressed.0, compressed.1, dim)?;
    same_len(("original pairs", before.len()), ("compressed pairs", after.len()))?;
    let (spearman_before, spearman_after) = (spearman(&before, scores)?, spearman(&after, scores)?);
    let name = format!("paired bootstrap, {} replicates, seed {}", bootstrap.replicates, bootstrap.seed);
    let ci = bootstrap_spearman_drop(&before, &after, scores, bootstrap)?;
    let p_value = swap_test(&before, &after, scores, bootstrap);
    Ok(EmbeddingComparison {
        spearman: Drop::new(spearman_before, spearman_after, (name, ci), ("paired permutation", p_value)),
        pearson_drop: pearson(&before, scores)? - pearson(&after, scores)?,
        agreement: agreement(&[original.0, original.1].concat(), &[compressed.0, compressed.1].concat(), dim, None)?,
    })
}

/// Two-sided p value that both networks rank pairs equally well: their ranks of a pair are swapped at random.
///
/// `(1 + hits) / (1 + replicates)`, so never 0.
fn swap_test(before: &[f64], after: &[f64], scores: &[f64], options: &BootstrapOptions) -> f64 {
    let (before, after) = (average_ranks(before), average_ranks(after));
    let difference = |left: &[f64], right: &[f64]| match (spearman(left, scores), spearman(right, scores)) {
        (Ok(left), Ok(right)) => (left - right).abs(),
        _ => 0.0,
    };
    let observed = difference(&before, &after);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let (mut left, mut right) = (before.clone(), after.clone());
    let hits = (0..options.replicates)
        .filter(|_| {
            let mut bits = 0;
            for i in 0..before.len() {
                if i % 64 == 0 {
                    bits = rng.next_u64();
                }
                (left[i], right[i]) = if bits & 1 == 1 { (after[i], before[i]) } else { (before[i], after[i]) };
                bits >>= 1;
            }
            difference(&left, &right) >= observed - 1e-12
        })
        .count();
    (1 + hits) as f64 / (1 + options.replicates) as f64
}
