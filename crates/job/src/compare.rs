//! `lissom compare`: how two models differ, where they begin to, and on which inputs.

use std::path::{Path, PathBuf};

use lissom_compress::Progress;
use lissom_engine::{Session, SessionOptions};
use lissom_evaluate::{
    Agreement, Comparison, Divergence, LayerError, OutputKind, Outputs, agreement, first_divergence,
};
use lissom_graph::{Model, ValueId};
use lissom_onnx::ReadOptions;
use lissom_recipe::Interrupt;
use lissom_tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::bench::{random_inputs, smallest_table};
use crate::evaluate::{compare as compare_answers, sampled};
use crate::model_file::load;
use crate::outputs::{answers, has_labels, open_data};
use crate::{JobError, SCHEMA_VERSION};

/// What `compare` is asked.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    /// The model everything is held against.
    pub original: PathBuf,
    /// The other.
    pub other: PathBuf,
    /// Data; random inputs if there is none.
    pub data: Option<PathBuf>,
    /// `data.toml`, if it does not lie beside the data.
    pub data_settings: Option<PathBuf>,
    /// Only this many samples.
    pub samples: Option<usize>,
    /// Relative error of a layer's output that counts as diverging.
    pub tolerance: f64,
    /// Seed of subsets and random inputs.
    pub seed: u64,
    /// Threads; 0 means one per core.
    pub threads: usize,
    /// How far the files are trusted.
    pub read: ReadOptions,
}

/// What `compare` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareResult {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The model everything is held against.
    pub original: String,
    /// The other.
    pub other: String,
    /// What they were run on.
    pub inputs: String,
    /// How near the first outputs are.
    pub agreement: Agreement,
    /// What changed against the labels, where there are any.
    pub comparison: Option<Comparison>,
    /// Error of every value both models have, by name, in the order of the original.
    pub layers: Vec<LayerError>,
    /// The first value that leaves the tolerance.
    pub divergence: Option<Divergence>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// Compares two models.
///
/// # Errors
/// [`JobError`] with place, cause and hint.
pub fn compare(
    request: &CompareRequest,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<CompareResult, JobError> {
    let (original, other) = (load(&request.original, &request.read)?, load(&request.other, &request.read)?);
    let options = SessionOptions { threads: request.threads, ..SessionOptions::default() };
    let (session, other_session) = (Session::new(&original.model, &options)?, Session::new(&other.model, &options)?);
    let mut notes: Vec<String> = original.warnings.iter().chain(&other.warnings).cloned().collect();
    let (agreement, comparison, batch, inputs) = match &request.data {
        Some(path) => {
            let data = open_data(path, request.data_settings.as_deref(), session.inputs())?;
            let data = sampled(data, request.samples, request.seed)?;
            notes.extend(data.notices().iter().map(ToString::to_string));
            let before = answers(&session, &data, progress, interrupt, "running the original")?;
            let after = answers(&other_session, &data, progress, interrupt, "running the other")?;
            let labelled = has_labels(&data);
            let comparison = labelled.then(|| compare_answers(&data, &before, &after, request.seed)).transpose()?;
            let is_embedding = before.second.is_some();
            let kind = (!is_embedding).then(|| kind(&before.values, before.row_len)).flatten();
            let agreement = agreement(&before.values, &after.values, before.row_len, kind)?;
            let positions: Vec<usize> = (0..data.fixed_batch().unwrap_or(8).min(data.len())).collect();
            let in_data = |source| JobError::Data { path: path.clone(), source };
            let batch = data.batch(&positions).map_err(in_data)?.inputs;
            (agreement, comparison, batch, format!("{} samples of `{}`", data.len(), path.display()))
        }
        None => {
            let batch = random_inputs(smallest_table(&original.model), session.inputs(), 4, 128, request.seed)?;
            let (before, after) = (first(&session, &batch)?, first(&other_session, &batch)?);
            let rows = batch.first().map_or(1, |(_, tensor)| tensor.shape().first().copied().unwrap_or(1)).max(1);
            let row_len = (before.len() / rows).max(1);
            (agreement(&before, &after, row_len, kind(&before, row_len))?, None, batch, "random inputs".to_owned())
        }
    };
    let layers = layer_errors(&original.model, &other.model, &batch, request.threads)?;
    Ok(CompareResult {
        schema_version: SCHEMA_VERSION,
        original: shown(&request.original),
        other: shown(&request.other),
        inputs,
        agreement,
        comparison,
        divergence: first_divergence(&layers, request.tolerance),
        layers,
        notes,
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// How rows give probabilities, if there are at least two values in a row.
fn kind(values: &[f32], row_len: usize) -> Option<OutputKind> {
    Outputs::new(values, row_len).ok().map(|outputs| outputs.guess_kind())
}

fn first(session: &Session, inputs: &[(String, Tensor)]) -> Result<Vec<f32>, JobError> {
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    Ok(session.run(&inputs)?.first().map(Tensor::to_f32_vec).transpose()?.unwrap_or_default())
}

/// The error of each float value that both models make under the same name.
///
/// # Errors
/// If a model cannot be run.
pub fn layer_errors(
    original: &Model,
    other: &Model,
    batch: &[(String, Tensor)],
    threads: usize,
) -> Result<Vec<LayerError>, JobError> {
    let pairs: Vec<(ValueId, ValueId)> = original
        .graph
        .nodes()
        .iter()
        .flat_map(|node| node.outputs.iter().flatten().copied())
        .filter(|&id| original.graph.value(id).fact.dtype.is_some_and(lissom_tensor::DType::is_float))
        .filter_map(|id| Some((id, made(other, &original.graph.value(id).name)?)))
        .collect();
    let observe = |model: &Model, values: Vec<ValueId>| -> Result<Vec<Tensor>, JobError> {
        let options = SessionOptions { threads, observe: values, ..SessionOptions::default() };
        let session = Session::new(model, &options)?;
        let inputs: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        Ok(session.run(&inputs)?.split_off(model.graph.outputs().len()))
    };
    let before = observe(original, pairs.iter().map(|pair| pair.0).collect())?;
    let after = observe(other, pairs.iter().map(|pair| pair.1).collect())?;
    let mut errors = Vec::new();
    for ((pair, a), b) in pairs.iter().zip(&before).zip(&after) {
        let name = &original.graph.value(pair.0).name;
        if a.shape() != b.shape() || a.is_empty() {
            continue;
        }
        let row_len = (a.len() / a.shape().first().copied().unwrap_or(1).max(1)).max(1);
        // A value that is not finite in either has no error to speak of; the outputs will show it.
        if let Ok(near) = agreement(&a.to_f32_vec()?, &b.to_f32_vec()?, row_len, None) {
            errors.push(LayerError {
                name: name.clone(),
                max_abs_error: near.max_abs_error,
                relative_error: near.relative_error,
                worst_row: near.worst_row,
            });
        }
    }
    Ok(errors)
}

/// The value of this name, if a node makes it.
fn made(model: &Model, name: &str) -> Option<ValueId> {
    let id = model.graph.find_value(name)?;
    model.graph.nodes().iter().any(|node| node.outputs.contains(&Some(id))).then_some(id)
}
