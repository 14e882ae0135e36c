//! `lissom eval`: what a model is worth on a data set.

use std::path::{Path, PathBuf};

use lissom_compress::Progress;
use lissom_data::{Dataset, Labels};
use lissom_engine::{Session, SessionOptions};
use lissom_evaluate::{
    BootstrapOptions, Comparison, JudgeOptions, Judgement, compare_classification, compare_pairs, judge_classification,
    judge_pairs,
};
use lissom_onnx::ReadOptions;
use lissom_recipe::Interrupt;
use serde::{Deserialize, Serialize};

use crate::outputs::{Answers, answers, open_data};
use crate::{JobError, SCHEMA_VERSION, model_file};

/// What `eval` is asked.
#[derive(Debug, Clone)]
pub struct EvalRequest {
    /// The model.
    pub model: PathBuf,
    /// The data, with labels or scores.
    pub data: PathBuf,
    /// `data.toml`, if it does not lie beside the data.
    pub data_settings: Option<PathBuf>,
    /// Only this many samples, spread over the classes.
    pub samples: Option<usize>,
    /// Seed of subsets and resampling.
    pub seed: u64,
    /// Threads; 0 means one per core.
    pub threads: usize,
    /// Products in f32 may round their operands to bf16.
    pub bf16: bool,
    /// How far the file is trusted.
    pub read: ReadOptions,
}

/// What `eval` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The model.
    pub model: String,
    /// The data.
    pub data: String,
    /// Number of samples judged.
    pub samples: usize,
    /// What the model is worth.
    pub judgement: Judgement,
    /// Names of the classes, where the data has them.
    pub class_names: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// Judges a model.
///
/// # Errors
/// [`JobError`] with place, cause and hint.
pub fn evaluate(request: &EvalRequest, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Evaluation, JobError> {
    let file = model_file::load(&request.model, &request.read)?;
    model_file::refuse_not_finite(&file.model)?;
    let options = SessionOptions { threads: request.threads, bf16: request.bf16, ..SessionOptions::default() };
    let session = Session::from_model(file.model, &options)?;
    let data = open_data(&request.data, request.data_settings.as_deref(), session.inputs())?;
    let data = sampled(data, request.samples, request.seed)?;
    let answers = answers(&session, &data, progress, interrupt, "evaluating")?;
    let judgement = judge(&data, &answers, request.seed)?;
    let mut notes = file.warnings;
    notes.extend(data.notices().iter().map(ToString::to_string));
    Ok(Evaluation {
        schema_version: SCHEMA_VERSION,
        model: request.model.display().to_string(),
        data: request.data.display().to_string(),
        samples: data.len(),
        judgement,
        class_names: data.class_names().unwrap_or_default().to_vec(),
        notes,
    })
}

/// The first `n` samples, or a subset spread over the classes; all if `n` is more.
///
/// # Errors
/// [`JobError::Data`].
pub fn sampled(data: Dataset, n: Option<usize>, seed: u64) -> Result<Dataset, JobError> {
    match n {
        Some(n) if n < data.len() => {
            let path: &Path = data.path();
            let subset = match data.labels() {
                Some(Labels::Classes(_)) => data.stratified_subset(n, seed),
                _ => data.subset(n, seed),
            };
            subset.map_err(|source| JobError::Data { path: path.to_owned(), source })
        }
        _ => Ok(data),
    }
}

/// Judges answers against the data's labels.
///
/// # Errors
/// [`JobError::Data`] for labels that are missing or out of range, [`JobError::Evaluate`] for what cannot be judged.
pub fn judge(data: &Dataset, answers: &Answers, seed: u64) -> Result<Judgement, JobError> {
    let in_data = |source| JobError::Data { path: data.path().to_owned(), source };
    match (data.labels(), &answers.second) {
        (Some(Labels::Scores(scores)), Some(second)) => {
            let scores: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
            let bootstrap = bootstrap(seed);
            Ok(judge_pairs(&answers.values, second, answers.row_len, &scores, &bootstrap)?.into())
        }
        _ => {
            let labels = data.require_classes(answers.row_len).map_err(in_data)?;
            Ok(judge_classification(&answers.values, answers.row_len, &labels, &options(seed))?.into())
        }
    }
}

/// Compares the answers of two models on the same data.
///
/// # Errors
/// As [`judge`].
pub fn compare(data: &Dataset, original: &Answers, compressed: &Answers, seed: u64) -> Result<Comparison, JobError> {
    let in_data = |source| JobError::Data { path: data.path().to_owned(), source };
    if original.row_len != compressed.row_len {
        return Err(JobError::Unfit {
            reason: format!("one model gives {} values a sample, the other {}", original.row_len, compressed.row_len),
            hint: "compare models that do the same task".to_owned(),
        });
    }
    match (data.labels(), &original.second, &compressed.second) {
        (Some(Labels::Scores(scores)), Some(before), Some(after)) => {
            let scores: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
            let (before, after) = ((&original.values[..], &before[..]), (&compressed.values[..], &after[..]));
            Ok(compare_pairs(before, after, original.row_len, &scores, &bootstrap(seed))?.into())
        }
        _ => {
            let labels = data.require_classes(original.row_len).map_err(in_data)?;
            let (before, after) = (&original.values, &compressed.values);
            Ok(compare_classification(before, after, original.row_len, &labels, &options(seed))?.into())
        }
    }
}

fn bootstrap(seed: u64) -> BootstrapOptions {
    BootstrapOptions { seed, ..BootstrapOptions::default() }
}

fn options(seed: u64) -> JudgeOptions {
    JudgeOptions { bootstrap: bootstrap(seed), ..JudgeOptions::default() }
}
