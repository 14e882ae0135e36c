//! What one network is worth on one data set.

use serde::{Deserialize, Serialize};

use crate::classification::ClassificationJudgement;
use crate::embedding::EmbeddingJudgement;

/// What one network is worth on one data set. In JSON the field `task` says which form it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Judgement {
    /// Class scores against labels.
    Classification(Box<ClassificationJudgement>),
    /// Pairs of embeddings against similarity scores.
    Embedding(EmbeddingJudgement),
}

impl Judgement {
    /// The one number budgets speak of, with its name: `top1` or `spearman`, 1 is best.
    #[must_use]
    pub fn headline(&self) -> (&'static str, f64) {
        match self {
            Self::Classification(judgement) => ("top1", judgement.top1.value),
            Self::Embedding(judgement) => ("spearman", judgement.spearman),
        }
    }

    /// Number of examples.
    #[must_use]
    pub fn n(&self) -> u64 {
        match self {
            Self::Classification(judgement) => judgement.top1.n,
            Self::Embedding(judgement) => judgement.n_pairs,
        }
    }
}

impl From<ClassificationJudgement> for Judgement {
    fn from(judgement: ClassificationJudgement) -> Self {
        Self::Classification(Box::new(judgement))
    }
}

impl From<EmbeddingJudgement> for Judgement {
    fn from(judgement: EmbeddingJudgement) -> Self {
        Self::Embedding(judgement)
    }
}
