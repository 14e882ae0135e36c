//! `lissom compress`: a model and a recipe in; a smaller, proven model and an honest report out.
//!
//! Every stage is a unit of the run folder, keyed by what goes in, so a killed job goes on where it was and ends in the
//! same bytes. `lissom train` is the same way, begun with an architecture where there is no file. Stages: read, simplify, steps of the recipe, fallback while a drop is too large, write and prove, judge,
//! time, report.

mod fallback;
mod open;
mod pairs;
mod prove;
mod steps;
mod training;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lissom_compress::{Method, Progress};
use lissom_data::Dataset;
use lissom_engine::{Session, SessionOptions};
use lissom_evaluate::{Comparison, Judgement, Latency};
use lissom_graph::Model;
use lissom_onnx::{ReadOptions, WriteOptions};
use lissom_recipe::run::{Existing, Input, OpenOptions, Outcome, RunRequest, UnitKey};
use lissom_recipe::{Budget, Digest, ExitCode, Interrupt, Recipe, RecipeText, Run, RunError};
use lissom_report::{Report, Sensitivity};
use lissom_tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::bench::{LayerTime, interleaved, layer_times, random_inputs, smallest_table};
use crate::budget::{Reached, all_met, contracts};
use crate::compare::layer_errors;
use crate::cost::{Cost, cost};
use crate::evaluate::{compare, judge};
use crate::model_file::{ModelFile, to_bytes};
use crate::outputs::{Answers, answers, has_labels};
use crate::report::{Facts, build};
use crate::{JobError, SCHEMA_VERSION, VERSION};

use open::open;
pub(crate) use pairs::Written;
pub use steps::{DatasetCalibration, DoneStep, apply_step};

/// Name of the compressed model in the run folder.
pub const MODEL: &str = "model.onnx";
/// Name of the page in the run folder.
pub const REPORT_HTML: &str = "report.html";
/// Name of the report as data in the run folder.
pub const REPORT_JSON: &str = "report.json";
/// Name of the recipe, presets resolved, in the run folder.
pub const RECIPE: &str = "recipe.json";

/// What `compress` is asked.
#[derive(Debug, Clone)]
pub struct CompressRequest {
    /// The model; absent: the architecture that the recipe's `[model]` names.
    pub model: Option<PathBuf>,
    /// The recipe's text.
    pub recipe: RecipeText,
    /// Budgets beside the recipe's; these win.
    pub budget: Budget,
    /// Calibration data. Never the data the result is judged on.
    pub data: Option<PathBuf>,
    /// `data.toml` of the calibration data, if it does not lie beside it.
    pub data_settings: Option<PathBuf>,
    /// Data to judge on.
    pub eval_data: Option<PathBuf>,
    /// `data.toml` of the data to judge on.
    pub eval_data_settings: Option<PathBuf>,
    /// Judge on this many samples only.
    pub eval_samples: Option<usize>,
    /// The run folder.
    pub out: PathBuf,
    /// Throw away what the folder holds of another run.
    pub start_over: bool,
    /// Measure what each layer costs when it alone is compressed.
    pub sensitivity: bool,
    /// Seconds to time each of the two models; 0 does not.
    pub bench_seconds: f64,
    /// Seed of anything random.
    pub seed: u64,
    /// Threads; 0 means one per core.
    pub threads: usize,
    /// How far the file is trusted.
    pub read: ReadOptions,
    /// The command line, for the report and `resume`.
    pub command: Vec<String>,
    /// When, for the report.
    pub date: String,
}

/// What `compress` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompressResult {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// True if every budget was met.
    pub budgets_met: bool,
    /// The compressed model.
    pub model: PathBuf,
    /// The page.
    pub report_html: PathBuf,
    /// The report as data.
    pub report_json: PathBuf,
    /// True if the run had been finished before and nothing was computed.
    pub was_finished: bool,
    /// Everything measured: the content of `report_json`.
    pub report: Report,
}

/// What `--dry-run` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompressPlan {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Steps of the recipe with their settings.
    pub steps: Vec<(String, String)>,
    /// Layers with a weight.
    pub cost: Cost,
    /// Size of the original file.
    pub original_bytes: u64,
    /// Size of the file the recipe would write; exact where no step needs data, else with the steps that do left out.
    pub predicted_bytes: u64,
    /// Non-zero multiply-accumulates after.
    pub predicted_effective_macs: Option<u64>,
    /// Steps that were not tried, and why.
    pub not_tried: Vec<String>,
}

/// Everything of a job that stays the same through its stages.
struct Context<'a> {
    request: &'a CompressRequest,
    recipe: Recipe,
    file: ModelFile,
    /// The model of the file, simplified: what the steps begin with.
    original: Model,
    /// What simplifying changed: passes and the number of places.
    simplified: Vec<(&'static str, usize)>,
    calibration: Option<DatasetCalibration>,
    eval: Option<Dataset>,
    /// The networks that steps learn from, by path.
    teachers: BTreeMap<PathBuf, ModelFile>,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
}

impl Context<'_> {
    fn options(&self) -> SessionOptions {
        SessionOptions { threads: self.request.threads, ..SessionOptions::default() }
    }

    /// Whether the model came from a seed, not from a file.
    fn is_new(&self) -> bool {
        self.request.model.is_none()
    }

    /// The steps that train: position and method.
    fn trainings(&self) -> Vec<(usize, String)> {
        let steps = self.recipe.steps.iter().enumerate().filter(|(_, step)| step.train.is_some());
        steps.map(|(index, step)| (index, step.method.clone())).collect()
    }

    fn budget(&self) -> Budget {
        self.recipe.budget.overridden_by(&self.request.budget)
    }
}

/// Says what `compress` would do, without data and without writing anything.
///
/// # Errors
/// As [`compress`], for what can be found out without data.
pub fn plan(request: &CompressRequest, interrupt: &Interrupt) -> Result<CompressPlan, JobError> {
    let silent = lissom_compress::Silent;
    let context = open(request, &silent, interrupt, false)?;
    let before = cost(&context.original, 128)?;
    let mut not_tried = Vec::new();
    let mut state = steps::State::new(&context.original)?;
    for (index, step) in context.recipe.steps.iter().enumerate() {
        if parsed(step)?.needs_calibration() || step.train.is_some() {
            not_tried.push(format!("step {} ({}) needs data", index + 1, step.method));
            continue;
        }
        state = apply_step(index, step, &state, None, request.seed, request.threads, &silent, interrupt, None)?.0;
    }
    let after = cost(&state.model()?, 128)?;
    Ok(CompressPlan {
        schema_version: SCHEMA_VERSION,
        steps: context.recipe.steps.iter().map(|s| (s.method.clone(), s.settings.to_json().to_string())).collect(),
        cost: before,
        original_bytes: context.file.size_bytes,
        predicted_bytes: state.bytes.len() as u64,
        predicted_effective_macs: after.effective_macs,
        not_tried,
    })
}

/// Compresses a model.
///
/// # Errors
/// [`JobError`] with place, cause and hint. A budget that is not met is no error: the result says so.
pub fn compress(
    request: &CompressRequest,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<CompressResult, JobError> {
    stages(request, progress, interrupt).map_err(|error| match error.exit_code() {
        exit_code @ (ExitCode::Interrupted | ExitCode::Terminated) => {
            JobError::Interrupted { run: request.out.clone(), exit_code }
        }
        _ => error,
    })
}

fn stages(
    request: &CompressRequest,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<CompressResult, JobError> {
    let context = open(request, progress, interrupt, true)?;
    let run_request = run_request(&context)?;
    let existing = if request.start_over { Existing::StartOver } else { Existing::Resume };
    let options = OpenOptions { existing, interrupt: interrupt.clone() };
    let mut run = Run::open(&request.out, &run_request, options)?;
    if run.finished().is_some() {
        return finished(&run);
    }
    let original = &context.original;
    run.event("simplified", serde_json::json!({ "places": context.simplified }))?;
    let outcome = fallback::steps_within_budget(&context, &run, original)?;
    let written = to_bytes(&outcome.model, &WriteOptions::default())?;
    for file in &written.external {
        run.write(&file.name, &file.parts.concat())?;
    }
    run.write(MODEL, &written.bytes)?;
    let size_bytes = written.bytes.len() as u64 + written.external.iter().map(|f| f.n_bytes()).sum::<u64>();
    let (probe, proof) = match prove::prove(&context, &run, &outcome.model) {
        Ok(proven) => proven,
        Err(error) => {
            // What is not proven must not lie there as if it were.
            for name in written.external.iter().map(|file| file.name.as_str()).chain([MODEL]) {
                let _ = std::fs::remove_file(run.path(name)?);
            }
            return Err(error);
        }
    };
    let pairs = pairs::write(&context, &run, &outcome.steps)?;
    let (errors, times) = if probe.inputs.is_empty() {
        (Vec::new(), None)
    } else {
        let errors = if context.is_new() {
            Vec::new()
        } else {
            layer_errors(original, &outcome.model, &probe.inputs, request.threads)?
        };
        (errors, times(&context, original, &outcome.model)?)
    };
    let comparison = outcome.comparison.clone();
    let after_cost = cost(&outcome.model, 128)?;
    let reached = Reached {
        original_bytes: context.file.size_bytes,
        size_bytes: Some(size_bytes),
        p50_ms: times.as_ref().map(|times| times.runs.1.p50_ms),
        bits: Some(after_cost.weight_bits as f64 / cost(original, 128)?.parameters.max(1) as f64),
        comparison: comparison.as_ref(),
    };
    let contracts = contracts(&context.budget(), &reached);
    let budgets_met = all_met(&contracts);
    let facts = Facts {
        request,
        recipe: &context.recipe,
        file: &context.file,
        original,
        compressed: &outcome.model,
        size_bytes,
        outcome: &outcome,
        proof,
        errors,
        times,
        contracts,
        eval: context.eval.as_ref(),
        calibration: context.calibration.as_ref(),
        written: &written.bytes,
        is_new: context.is_new(),
        is_other_task: open::is_other_task(&context.recipe)?,
        teachers: &context.teachers,
        curves: training::curves(&run, &context.trainings())?,
        pairs: &pairs,
    };
    let report = build(&facts)?;
    run.write(RECIPE, format!("{:#}\n", context.recipe.to_json()).as_bytes())?;
    run.write(REPORT_JSON, report.to_json()?.as_bytes())?;
    run.write(REPORT_HTML, report.to_html()?.as_bytes())?;
    let mut outputs = vec![MODEL, REPORT_HTML, REPORT_JSON, RECIPE];
    let metrics = training::outputs(&run, &context.trainings());
    outputs.extend(metrics.iter().map(String::as_str));
    outputs.extend(pairs.iter().map(|written| written.pair.path.as_str()));
    outputs.extend(written.external.iter().map(|file| file.name.as_str()));
    run.finish(if budgets_met { Outcome::Done } else { Outcome::BudgetMissed }, &outputs)?;
    // From here on the manifest answers; what was kept to resume from may be larger than the model.
    run.discard_units()?;
    result(&run, report, budgets_met, false)
}

fn result(run: &Run, report: Report, budgets_met: bool, was_finished: bool) -> Result<CompressResult, JobError> {
    Ok(CompressResult {
        schema_version: SCHEMA_VERSION,
        budgets_met,
        model: run.path(MODEL)?,
        report_html: run.path(REPORT_HTML)?,
        report_json: run.path(REPORT_JSON)?,
        was_finished,
        report,
    })
}

fn finished(run: &Run) -> Result<CompressResult, JobError> {
    let path = run.path(REPORT_JSON)?;
    let text =
        std::fs::read_to_string(&path).map_err(|error| lissom_recipe::run::FileError::of("read", &path, error))?;
    let report = Report::from_json(&text)?;
    let budgets_met = run.finished().is_some_and(|manifest| manifest.outcome == Outcome::Done);
    result(run, report, budgets_met, true)
}

fn parsed(step: &lissom_recipe::Step) -> Result<Box<dyn Method>, JobError> {
    steps::method(step)
}

fn run_request(context: &Context<'_>) -> Result<RunRequest, JobError> {
    let request = context.request;
    let hash = |data: &Dataset| -> Result<Digest, JobError> {
        let hash = data.hash().map_err(|source| JobError::Data { path: data.path().to_owned(), source })?;
        Ok(Digest::of(hash.as_bytes()))
    };
    let name = |path: &Path| path.display().to_string();
    let mut run_request = RunRequest::new(request.command.clone(), VERSION, request.seed)
        .given_in(std::env::current_dir().ok())
        .input("model", Input::new(name(&context.file.path), context.file.digest))
        .input("recipe", Input::new(&context.recipe.name, context.recipe.digest()))
        .option("budget", serde_json::to_string(&request.budget).unwrap_or_default())
        .option("sensitivity", request.sensitivity);
    for (path, teacher) in &context.teachers {
        run_request = run_request.input(&format!("teacher {}", name(path)), Input::new(name(path), teacher.digest));
    }
    if let Some(calibration) = &context.calibration {
        let data = calibration.dataset();
        run_request = run_request.input("data", Input::new(name(data.path()), hash(data)?));
    }
    if let Some(eval) = &context.eval {
        run_request = run_request.input("eval-data", Input::new(name(eval.path()), hash(eval)?));
    }
    Ok(run_request)
}

/// What came of the steps, and of falling back where the drop was too large.
pub(crate) struct StepsOutcome {
    /// The compressed model.
    pub(crate) model: Model,
    /// What each step did.
    pub(crate) steps: Vec<DoneStep>,
    /// What the original is worth.
    pub(crate) before: Option<Judgement>,
    /// What the result is worth.
    pub(crate) after: Option<Judgement>,
    /// What changed.
    pub(crate) comparison: Option<Comparison>,
    /// What each layer costs, if it was measured.
    pub(crate) sensitivity: Option<Sensitivity>,
    /// Layers that stay as they were so that the drop is not too large.
    pub(crate) reverted: Vec<String>,
}

/// A model's answers on the evaluation data, stored.
fn stored_answers(context: &Context<'_>, run: &Run, model: &Model, what: &str) -> Result<Option<Answers>, JobError> {
    let Some(eval) = &context.eval else { return Ok(None) };
    let bytes = to_bytes(model, &WriteOptions::default())?.bytes;
    let hash = eval.hash().map_err(|source| JobError::Data { path: eval.path().to_owned(), source })?;
    let input = Digest::of_parts([bytes.as_slice(), hash.as_bytes()]);
    let key = UnitKey::new("answers of a model", &input, "", VERSION);
    let stored = run.unit(&key, || -> Result<Vec<u8>, StoreError> {
        let session = Session::new(model, &context.options()).map_err(JobError::from)?;
        let what = format!("judging the {what} model");
        Ok(answers(&session, eval, context.progress, context.interrupt, &what)?.to_bytes())
    });
    Ok(Some(Answers::from_bytes(&stored.map_err(StoreError::into_job)?)?))
}

/// Carries a job's error through the store of units, which has errors of its own.
pub(crate) enum StoreError {
    Job(Box<JobError>),
    Run(RunError),
}

impl From<RunError> for StoreError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<JobError> for StoreError {
    fn from(error: JobError) -> Self {
        Self::Job(Box::new(error))
    }
}

impl StoreError {
    pub(crate) fn into_job(self) -> JobError {
        match self {
            Self::Job(error) => *error,
            Self::Run(error) => JobError::Run(error),
        }
    }
}

fn judged(context: &Context<'_>, answers: Option<&Answers>) -> Result<Option<Judgement>, JobError> {
    match (&context.eval, answers) {
        (Some(eval), Some(answers)) if has_labels(eval) => Ok(Some(judge(eval, answers, context.request.seed)?)),
        _ => Ok(None),
    }
}

fn compared(
    context: &Context<'_>,
    before: Option<&Answers>,
    after: Option<&Answers>,
) -> Result<Option<Comparison>, JobError> {
    match (&context.eval, before, after) {
        (Some(eval), Some(before), Some(after)) if has_labels(eval) => {
            Ok(Some(compare(eval, before, after, context.request.seed)?))
        }
        _ => Ok(None),
    }
}

/// Times of a pair of models, batch 1.
pub(crate) struct Times {
    /// Of whole runs, original and compressed, taken in turn.
    pub(crate) runs: (Latency, Latency),
    /// Of the steps of the original.
    pub(crate) layers_before: Vec<LayerTime>,
    /// Of the steps of the compressed model.
    pub(crate) layers_after: Vec<LayerTime>,
    /// What runs without a kernel of its own in the compressed model, and why.
    pub(crate) notes: Vec<String>,
}

/// Times the original and the compressed model.
fn times(context: &Context<'_>, original: &Model, compressed: &Model) -> Result<Option<Times>, JobError> {
    let wants = context.budget().target_latency.is_some();
    let seconds = if wants { context.request.bench_seconds.max(1.0) } else { context.request.bench_seconds };
    if seconds <= 0.0 {
        return Ok(None);
    }
    context.progress.report(0, 1, "timing both models");
    let before = Session::new(original, &context.options())?;
    let Ok(inputs) = random_inputs(smallest_table(original), before.inputs(), 1, 128, context.request.seed) else {
        return Ok(None);
    };
    let named: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    // Made-up inputs may not fit a model with lengths it does not declare; then there is no time to tell.
    if before.run(&named).is_err() {
        return Ok(None);
    }
    let after = Session::new(compressed, &context.options())?;
    let each = Duration::from_secs_f64(seconds);
    let runs = interleaved(&[(&before, &inputs), (&after, &inputs)], each)?;
    let Ok([run_before, run_after]) = <[Latency; 2]>::try_from(runs) else { return Ok(None) };
    let times = Times {
        runs: (run_before, run_after),
        layers_before: layer_times(&before, &inputs, None)?,
        layers_after: layer_times(&after, &inputs, None)?,
        notes: after.notes(),
    };
    context.progress.report(1, 1, "timing both models");
    Ok(Some(times))
}
