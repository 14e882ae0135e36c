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
