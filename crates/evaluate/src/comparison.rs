//! What compressing changed.

use serde::{Deserialize, Serialize};

use crate::ALPHA;
use crate::classification::ClassificationComparison;
use crate::embedding::EmbeddingComparison;
use crate::proportion::Interval;

/// A number that should stay high, before and after, on the same examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    /// Value of the original network.
    pub original: f64,
    /// Value of the compressed network.
    pub compressed: f64,
    /// `original − compressed`: above 0 is a loss.
    pub drop: f64,
    /// 95 % interval of the drop.
    pub ci: Interval,
    /// How the interval was had.
    pub interval: String,
    /// Two-sided p value that there is no difference.
    pub p_value: f64,
    /// Which test gave it.
    pub test: String,
    /// Whether the p value is below 0.05.
    pub is_significant: bool,
}

impl Drop {
    pub(crate) fn new(
        original: f64,
        compressed: f64,
        (interval, ci): (String, Interval),
        (test, p_value): (&str, f64),
    ) -> Self {
        Self {
            original,
            compressed,
            drop: original - compressed,
            ci,
            interval,
            p_value,
            test: test.to_owned(),
            is_significant: p_value < ALPHA,
        }
    }
}

/// What compressing changed. In JSON the field `task` says which form it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Comparison {
    /// Class scores against labels.
    Classification(Box<ClassificationComparison>),
    /// Pairs of embeddings against similarity scores.
    Embedding(Box<EmbeddingComparison>),
}

impl Comparison {
    /// The drop of the number budgets speak of, with its name: `top1` or `spearman`.
    #[must_use]
    pub fn headline(&self) -> (&'static str, &Drop) {
        match self {
            Self::Classification(comparison) => ("top1", &comparison.top1),
            Self::Embedding(comparison) => ("spearman", &comparison.spearman),
        }
    }

    /// The largest drop of recall of a class, 0..1; `None` for embeddings.
    #[must_use]
    pub fn worst_class_drop(&self) -> Option<f64> {
        match self {
            Self::Classification(comparison) => comparison.classes.iter().map(|class| class.drop).reduce(f64::max),
            Self::Embedding(_) => None,
        }
    }
}

impl From<ClassificationComparison> for Comparison {
    fn from(comparison: ClassificationComparison) -> Self {
        Self::Classification(Box::new(comparison))
    }
}

impl From<EmbeddingComparison> for Comparison {
    fn from(comparison: EmbeddingComparison) -> Self {
        Self::Embedding(Box::new(comparison))
    }
}
