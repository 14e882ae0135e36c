//! What a network gets right, for whom, and what compressing it changed.
//!
//! Everything here is a pure function over slices: outputs as `&[f32]` in rows, labels as `&[i64]`. No graph, no
//! engine, no file. The same arguments and seed give the same result, bit for bit, at any number of threads.
//!
//! * One network: [`judge_classification`], [`judge_pairs`] give a [`Judgement`].
//! * A network and its compressed form: [`compare_classification`], [`compare_pairs`] give a [`Comparison`].
//! * Any two outputs: [`agreement`]; layer by layer: [`first_divergence`].
//! * Times: [`Latency::from_ms`].
//!
//! ```
//! use lissom_evaluate::{JudgeOptions, compare_classification, judge_classification};
//!
//! let labels = [0, 1, 1, 0];
//! let original = [2.0, 0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 0.0]; // four rows of two classes, all right
//! let compressed = [2.0, 0.0, 2.0, 0.0, 0.0, 2.0, 2.0, 0.0]; // the second is wrong
//! let options = JudgeOptions::default();
//! assert_eq!(judge_classification(&compressed, 2, &labels, &options)?.top1.value, 0.75);
//! let changed = compare_classification(&original, &compressed, 2, &labels, &options)?;
//! assert_eq!((changed.top1.drop, changed.classes[0].class, changed.classes[0].drop), (0.25, 1, 0.5));
//! assert!(!changed.top1.is_significant, "one of four may be chance");
//! # Ok::<(), lissom_evaluate::EvaluateError>(())
//! ```
//!
//! Shares are 0..1. Intervals are 95 % ([`CONFIDENCE`]). A number that cannot be had is `None`, never 0.

mod agreement;
mod auc;
mod bootstrap;
mod calibration;
mod classification;
mod comparison;
mod confusion;
mod correlation;
mod embedding;
mod error;
mod judgement;
mod latency;
mod multiple;
mod outputs;
mod paired;
mod per_class;
mod proportion;
mod topk;

pub use agreement::{Agreement, Divergence, LayerError, agreement, first_divergence};
pub use auc::{auc_binary, auc_macro};
pub use bootstrap::{BootstrapOptions, bootstrap_mean, bootstrap_spearman, bootstrap_spearman_drop};
pub use calibration::{Calibration, CalibrationBin, calibration};
pub use classification::{
    ClassDrop, ClassificationComparison, ClassificationJudgement, Flips, JudgeOptions, compare_classification,
    judge_classification,
};
pub use comparison::{Comparison, Drop};
pub use confusion::{Confusion, ConfusionCell};
pub use correlation::{average_ranks, pearson, spearman};
pub use embedding::{EmbeddingComparison, EmbeddingJudgement, compare_pairs, cosine_of_pairs, judge_pairs};
pub use error::EvaluateError;
pub use judgement::Judgement;
pub use latency::{Latency, percentile};
pub use multiple::{benjamini_hochberg, holm};
pub use outputs::{OutputKind, Outputs};
pub use paired::{mcnemar_exact, paired_permutation};
pub use per_class::{ClassScores, per_class};
pub use proportion::{Interval, Proportion, newcombe_paired, wilson};
pub use topk::{argmax, rank_of, top_k_correct};

/// The confidence of every interval this crate gives.
pub const CONFIDENCE: f64 = 0.95;

/// A difference is called significant when its (corrected) p value is below this.
pub const ALPHA: f64 = 1.0 - CONFIDENCE;
