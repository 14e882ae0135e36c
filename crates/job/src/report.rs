//! What a compress job measured, as a report.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lissom_data::Dataset;
use lissom_evaluate::{Judgement, Latency, LayerError, first_divergence};
use lissom_graph::Model;
use lissom_recipe::Recipe;
use lissom_report::{
    Budget, Change, Curve, FileHash, Layer, ModelCard, NotMeasured, Notice, NoticeKind, Provenance, QuantizationGrid,
    Report, Step, WeightHistogram,
};
use lissom_tensor::Weight;

use crate::bench::LayerTime;
use crate::compress::{CompressRequest, DatasetCalibration, DoneStep, StepsOutcome, Times, Written};
use crate::cost::{Cost, LayerCost, cost};
use crate::machine::machine;
use crate::model_file::ModelFile;
use crate::{JobError, VERSION};

/// Everything a report is made from.
pub(crate) struct Facts<'a> {
    pub(crate) request: &'a CompressRequest,
    pub(crate) recipe: &'a Recipe,
    pub(crate) file: &'a ModelFile,
    pub(crate) original: &'a Model,
    pub(crate) compressed: &'a Model,
    pub(crate) size_bytes: u64,
    pub(crate) outcome: &'a StepsOutcome,
    pub(crate) proof: String,
    /// Error of every value both networks make, on the inputs of the proof.
    pub(crate) errors: Vec<LayerError>,
    pub(crate) times: Option<Times>,
    pub(crate) contracts: Vec<Budget>,
    pub(crate) eval: Option<&'a Dataset>,
    pub(crate) calibration: Option<&'a DatasetCalibration>,
    pub(crate) written: &'a [u8],
    /// The model was drawn from a seed: there is no network before.
    pub(crate) is_new: bool,
    /// A step gave the network another task.
    pub(crate) is_other_task: bool,
    /// The networks that steps learnt from, by path.
    pub(crate) teachers: &'a BTreeMap<PathBuf, ModelFile>,
    /// How the trainings went.
    pub(crate) curves: Vec<Curve>,
    /// What steps made beside their results.
    pub(crate) pairs: &'a [Written],
}

/// Relative error of a value that counts as diverging.
const DIVERGENCE: f64 = 0.05;

/// Builds the report.
pub(crate) fn build(facts: &Facts<'_>) -> Result<Report, JobError> {
    let (before, after) = (cost(facts.original, 128)?, cost(facts.compressed, 128)?);
    let name = facts.file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut report = Report::new(&format!("{name}, {}", facts.recipe.name), provenance(facts)?);
    let (time_before, time_after) = facts.times.as_ref().map(|times| times.runs.clone()).unzip();
    let parameters = before.parameters;
    let original = card(name, facts.file.size_bytes, &before, parameters, time_before, facts.outcome.before.clone());
    report.original = (!facts.is_new).then_some(original);
    report.compressed = Some(card(
        crate::compress::MODEL.to_owned(),
        facts.size_bytes,
        &after,
        parameters,
        time_after,
        facts.outcome.after.clone(),
    ));
    report.budgets.clone_from(&facts.contracts);
    report.notices = notices(facts);
    report.not_measured = not_measured(facts);
    report.comparison.clone_from(&facts.outcome.comparison);
    report.class_names = facts.eval.and_then(|data| data.class_names()).unwrap_or_default().to_vec();
    report.steps = facts.outcome.steps.iter().map(step).collect();
    report.layers = after.layers.iter().map(|cost| layer(cost, facts)).collect();
    report.divergence = first_divergence(&facts.errors, DIVERGENCE);
    report.histograms = histograms(facts.compressed)?;
    report.sensitivity.clone_from(&facts.outcome.sensitivity);
    report.curves.clone_from(&facts.curves);
    report.pairs = facts.pairs.iter().map(|written| written.pair.clone()).collect();
    Ok(report)
}

fn provenance(facts: &Facts<'_>) -> Result<Provenance, JobError> {
    let machine = machine();
    let threads = if facts.request.threads == 0 { machine.cores } else { facts.request.threads };
    let original = FileHash {
        role: if facts.is_new { "untrained" } else { "original" }.to_owned(),
        path: facts.file.path.display().to_string(),
        size_bytes: facts.file.size_bytes,
        blake3: facts.file.digest.to_string(),
    };
    let mut files = vec![original, FileHash::of_bytes("compressed", crate::compress::MODEL, facts.written)];
    let other = |written: &Written| {
        let role = format!("{}, step {} ({})", written.pair.name, written.pair.step, written.pair.method);
        FileHash::of_bytes(&role, &written.pair.path, &written.bytes)
    };
    files.extend(facts.pairs.iter().map(other));
    files.extend(facts.teachers.values().map(|teacher| FileHash {
        role: "teacher".to_owned(),
        path: teacher.path.display().to_string(),
        size_bytes: teacher.size_bytes,
        blake3: teacher.digest.to_string(),
    }));
    let is_trained = facts.recipe.steps.iter().any(|step| step.train.is_some());
    let role = if is_trained { "training" } else { "calibration" };
    let data = facts.calibration.map(|data| (role, data.dataset()));
    for (role, data) in data.into_iter().chain(facts.eval.map(|data| ("evaluation", data))) {
        let in_data = |source| JobError::Data { path: data.path().to_owned(), source };
        files.push(FileHash {
            role: format!("{role}, {} samples as prepared", data.len()),
            path: data.path().display().to_string(),
            size_bytes: 0,
            blake3: data.hash().map_err(in_data)?,
        });
    }
    Ok(Provenance {
        command: facts.request.command.join(" "),
        lissom_version: VERSION.to_owned(),
        cpu: format!("{} ({})", machine.cpu, machine.features.join(" ")),
        os: machine.os,
        n_threads: Some(threads as u64),
        seed: Some(facts.request.seed),
        date: facts.request.date.clone(),
        recipe: Some(format!("{:#}", facts.recipe.to_json())),
        files,
    })
}

fn card(
    name: String,
    size_bytes: u64,
    cost: &Cost,
    original_parameters: u64,
    latency: Option<Latency>,
    judgement: Option<Judgement>,
) -> ModelCard {
    ModelCard {
        name,
        size_bytes: Some(size_bytes),
        parameters: Some(cost.parameters),
        non_zeros: Some(cost.non_zeros),
        effective_bits: Some(cost.weight_bits as f64 / original_parameters.max(1) as f64),
        macs: cost.macs,
        effective_macs: cost.effective_macs,
        latency,
        peak_memory_bytes: None,
        judgement,
    }
}

fn notices(facts: &Facts<'_>) -> Vec<Notice> {
    let notice = |kind, layer: Option<&str>, message: String| Notice { kind, layer: layer.map(str::to_owned), message };
    let mut notices = Vec::new();
    for warning in &facts.file.warnings {
        notices.push(notice(NoticeKind::Warning, None, warning.clone()));
    }
    for layer in &facts.outcome.reverted {
        let message = "kept as it was: compressing it made the accuracy drop too far".to_owned();
        notices.push(notice(NoticeKind::Fallback, Some(layer), message));
    }
    if !facts.outcome.reverted.is_empty() {
        let message = "layers were ranked on calibration data; the evaluation data decided how many to keep, so its \
                       accuracy is slightly favourable"
            .to_owned();
        notices.push(notice(NoticeKind::Note, None, message));
    }
    let is_missed = |name: &str| facts.contracts.iter().any(|c| c.name == name && c.is_met == Some(false));
    if (is_missed("max-drop") || is_missed("max-class-drop")) && facts.outcome.sensitivity.is_none() {
        let message = "no layer could fall back: no step of the recipe encodes with loss".to_owned();
        notices.push(notice(NoticeKind::Warning, None, message));
    }
    for done in &facts.outcome.steps {
        for skipped in &done.changes.skipped {
            let message = format!("{}: {}", done.method, skipped.reason);
            notices.push(notice(NoticeKind::Fallback, Some(&skipped.layer), message));
        }
        for note in &done.changes.notes {
            notices.push(notice(NoticeKind::Note, None, format!("{}: {note}", done.method)));
        }
    }
    for note in facts.times.iter().flat_map(|times| &times.notes) {
        notices.push(notice(NoticeKind::Note, None, format!("engine: {note}")));
    }
    for data in facts.eval.into_iter().chain(facts.calibration.map(DatasetCalibration::dataset)) {
        for note in data.notices() {
            notices.push(notice(NoticeKind::Note, None, format!("data `{}`: {note}", data.path().display())));
        }
    }
    notices.push(notice(NoticeKind::Note, None, format!("the written file was proven: {}", facts.proof)));
    notices.push(notice(
        NoticeKind::Note,
        None,
        "parameters are all floating point or quantized constants: weights, biases, normalisation, embeddings".into(),
    ));
    notices
}

fn not_measured(facts: &Facts<'_>) -> Vec<NotMeasured> {
    let mut missing = Vec::new();
    let mut add = |what: &str, why: &str| missing.push(NotMeasured { what: what.to_owned(), why: why.to_owned() });
    if facts.is_new {
        add("What changed", "the network was trained from nothing");
    }
    if facts.is_other_task {
        add("What changed", "the network was given another task");
    }
    let has_before = !facts.is_new && !facts.is_other_task;
    if facts.eval.is_none() || (facts.outcome.comparison.is_none() && has_before) {
        add("Accuracy", "no data with labels was given (`--eval-data`)");
    }
    if facts.request.sensitivity && facts.outcome.sensitivity.is_none() {
        add("Sensitivity", "no step of the recipe encodes with loss, so there is nothing to leave out");
    }
    if facts.times.is_none() {
        add("Time", "timing was switched off, or inputs could not be made up");
    }
    add("Peak memory", "this process holds both models and the data; `lissom bench` measures one model alone");
    missing
}

fn step(done: &DoneStep) -> Step {
    let state = |state: &lissom_compress::WeightState| {
        let zeros = if state.zeros > 0 { format!(", {:.1} % zero", 100.0 * state.sparsity()) } else { String::new() };
        format!("{}{zeros}, {} B", state.encoding, state.bits.div_ceil(8))
    };
    Step {
        method: done.method.clone(),
        settings: done.settings.clone(),
        summary: Some(format!("{} weights changed, {} skipped", done.changes.layers.len(), done.changes.skipped.len())),
        changes: done
            .changes
            .layers
            .iter()
            .map(|change| Change {
                layer: change.layer.clone(),
                before: state(&change.before),
                after: state(&change.after),
            })
            .collect(),
    }
}

fn layer(cost: &LayerCost, facts: &Facts<'_>) -> Layer {
    let graph = &facts.compressed.graph;
    let output = graph.find_node(&cost.name).and_then(|node| graph.nodes()[node].outputs.first().copied().flatten());
    let name = output.map(|id| graph.value(id).name.as_str());
    let error = facts.errors.iter().find(|error| Some(error.name.as_str()) == name);
    let step = |times: &'_ [LayerTime]| times.iter().find(|step| step.name == cost.name).cloned();
    let before = facts.times.as_ref().and_then(|times| step(&times.layers_before));
    let after = facts.times.as_ref().and_then(|times| step(&times.layers_after));
    Layer {
        time_before_ms: before.map(|step| step.ms),
        time_after_ms: after.as_ref().map(|step| step.ms),
        kernel_reason: after.as_ref().map(|step| match step.why.as_str() {
            "" => format!("runs {}", step.operators),
            why => format!("runs {}; {why}", step.operators),
        }),
        kernel: after.map(|step| step.kernel),
        output_error: error.and_then(|error| error.relative_error),
        name: cost.name.clone(),
        operator: Some(cost.operator.clone()),
        shape: Some(cost.shape.iter().map(|&length| length as u64).collect()),
        encoding: Some(cost.encoding.clone()),
        sparsity: Some(cost.zeros as f64 / cost.len.max(1) as f64),
        bits: Some(cost.bits as f64 / cost.len.max(1) as f64),
        bytes: Some(cost.bits.div_ceil(8)),
        macs: cost.macs,
    }
}

fn histograms(model: &Model) -> Result<Vec<WeightHistogram>, JobError> {
    const BINS: usize = 48;
    let mut histograms = Vec::new();
    for layer in model.graph.layers() {
        let Some(weight) = model.graph.constant(layer.weight) else { continue };
        let values = weight.decode()?.to_f32_vec()?;
        histograms.push(WeightHistogram::of(&layer.name, &values, BINS, grid(weight)?));
    }
    Ok(histograms)
}

/// The levels of the first scale.
fn grid(weight: &Weight) -> Result<Option<QuantizationGrid>, JobError> {
    let Weight::Affine(affine) = weight else { return Ok(None) };
    let scale = affine.scale.to_f32_vec()?.first().copied().unwrap_or(1.0);
    let zero = match &affine.zero_point {
        Some(zero) => zero.to_i64_vec()?.first().copied().unwrap_or(0),
        None => 0,
    };
    let Some((low, high)) = affine.codes.dtype().int_range().filter(|(low, high)| high - low < 256) else {
        return Ok(None);
    };
    let levels = (low..=high).map(|code| (code as f64 - zero as f64) * f64::from(scale)).collect();
    let n_scales = affine.scale.len();
    let which = if n_scales > 1 { format!(", {n_scales} scales, the first shown") } else { String::new() };
    Ok(Some(QuantizationGrid { description: format!("{}{which}", weight.describe()), levels }))
}
