//! The steps of a recipe, and falling back: while the drop is too large, the layers that cost most stay as they were.
//!
//! What a layer costs is found on calibration data, or on made-up inputs where there is none: the error of the model's
//! output when that layer alone goes through the step. The evaluation data only says when to stop, which the report tells.

use lissom_compress::training::Training;
use lissom_compress::{Calibration, Changes, MethodError};
use lissom_engine::Session;
use lissom_evaluate::Comparison;
use lissom_graph::Model;
use lissom_recipe::run::UnitKey;
use lissom_recipe::{LayerFilter, LayerPattern, Run, Step};
use lissom_report::{Sensitivity, SensitivityEntry, Unit};
use lissom_tensor::Tensor;

use super::open::{is_other_task, teacher_path};
use super::steps::{DoneStep, State, apply_step, method};
use super::training::StepFolder;
use super::{Context, StepsOutcome, StoreError, compared, judged, stored_answers};
use crate::bench::{random_inputs, smallest_table};
use crate::model_file::ModelFile;
use crate::{JobError, VERSION};

/// Samples the sensitivity of a layer is measured on.
const SENSITIVITY_SAMPLES: usize = 64;

/// Runs the recipe; while a drop is larger than its budget, more layers are kept out of the last encoding step.
pub(super) fn steps_within_budget(
    context: &Context<'_>,
    run: &Run,
    original: &Model,
) -> Result<StepsOutcome, JobError> {
    let mut start = State::new(original)?;
    if context.is_new() {
        start.reference = None;
    }
    // A network that was drawn from a seed is nothing to compare with, nor is one for another task.
    let is_comparable = !context.is_new() && !is_other_task(&context.recipe)?;
    let original_answers = if is_comparable { stored_answers(context, run, original, "original")? } else { None };
    let before = judged(context, original_answers.as_ref())?;
    let attempt = |excluded: &[String]| -> Result<_, JobError> {
        let (state, steps) = all_steps(context, run, &start, excluded)?;
        let model = state.model()?;
        let answers = stored_answers(context, run, &model, "compressed")?;
        let comparison = compared(context, original_answers.as_ref(), answers.as_ref())?;
        Ok((model, steps, answers, comparison))
    };
    let mut reverted: Vec<String> = Vec::new();
    let mut best = attempt(&reverted)?;
    let encoding = encoding_step(context)?;
    let mut ranking = None;
    let too_large = |comparison: &Option<Comparison>| exceeds(context, comparison.as_ref());
    if let Some(step) = encoding
        && (context.request.sensitivity || too_large(&best.3))
    {
        ranking = Some(sensitivity(context, run, &start, step)?);
    }
    if let Some(ranking) = &ranking
        && too_large(&best.3)
    {
        // Doubling finds a number that is enough in few attempts, halving then takes back what was not needed.
        let (mut low, mut high, mut n) = (0, None, 1);
        while n > low && high.is_none_or(|high| n < high) {
            let names: Vec<String> = ranking.iter().take(n).map(|(layer, _)| layer.clone()).collect();
            let tried = attempt(&names)?;
            if too_large(&tried.3) {
                low = names.len();
                n = match high {
                    Some(high) => (low + high) / 2,
                    None if names.len() < n || names.len() == ranking.len() => break,
                    None => 2 * n,
                };
            } else {
                high = Some(names.len());
                n = (low + names.len()) / 2;
                (best, reverted) = (tried, names);
            }
        }
    }
    let (model, steps, answers, comparison) = best;
    let after = judged(context, answers.as_ref())?;
    let sensitivity = match (&ranking, encoding) {
        (Some(ranking), Some(step)) => Some(described(ranking, &context.recipe.steps[step])),
        _ => None,
    };
    Ok(StepsOutcome { model, steps, before, after, comparison, sensitivity, reverted })
}

/// Whether a budget on accuracy is broken.
fn exceeds(context: &Context<'_>, comparison: Option<&Comparison>) -> bool {
    let Some(comparison) = comparison else { return false };
    let budget = context.budget();
    let over = |limit: Option<f64>, drop: Option<f64>| matches!((limit, drop), (Some(l), Some(d)) if 100.0 * d > l);
    over(budget.max_drop, Some(comparison.headline().1.drop))
        || over(budget.max_class_drop, comparison.worst_class_drop())
}

/// The last step that encodes with loss.
fn encoding_step(context: &Context<'_>) -> Result<Option<usize>, JobError> {
    let mut found = None;
    for (index, step) in context.recipe.steps.iter().enumerate() {
        if method(step)?.is_encoding() {
            found = Some(index);
        }
    }
    Ok(found)
}

/// All steps, each stored; `excluded` layers are left out of the encoding steps and of what corrects them.
fn all_steps(
    context: &Context<'_>,
    run: &Run,
    start: &State,
    excluded: &[String],
) -> Result<(State, Vec<DoneStep>), JobError> {
    let mut state = start.clone();
    let mut done = Vec::new();
    let first_encoding = encoding_step(context)?.unwrap_or(usize::MAX);
    for (index, step) in context.recipe.steps.iter().enumerate() {
        let mut step = step.clone();
        if index >= first_encoding && !excluded.is_empty() {
            exclude(&mut step, excluded);
        }
        let (next, changes) = match stored_step(context, run, index, &step, &state) {
            // With every layer kept as it was there is nothing left for the step to do.
            Err(JobError::Step { source: MethodError::NothingToDo { reason, .. }, .. }) if !excluded.is_empty() => {
                (state.clone(), Changes { notes: vec![reason], ..Changes::default() })
            }
            other => other?,
        };
        let settings = step.settings.to_json().to_string();
        let result = (!changes.others.is_empty()).then(|| next.bytes.clone());
        done.push(DoneStep { method: step.method.clone(), settings, changes, result });
        state = next;
    }
    Ok((state, done))
}

fn exclude(step: &mut Step, excluded: &[String]) {
    step.layers.exclude.extend(excluded.iter().map(|name| LayerPattern::exact(name)));
    step.layers.allow_unmatched = true;
}

fn stored_step(
    context: &Context<'_>,
    run: &Run,
    index: usize,
    step: &Step,
    state: &State,
) -> Result<(State, Changes), JobError> {
    let settings = identity(context, step)?;
    let key = UnitKey::new(&format!("step {} {}", index + 1, step.method), &state.digest(), &settings, VERSION);
    let unit = run.unit(&key, || -> Result<Vec<u8>, StoreError> {
        let (next, changes) = apply(context, run, (index, step), state, &key)?;
        Ok(next.to_unit(&changes)?)
    });
    State::from_unit(&unit.map_err(StoreError::into_job)?)
}

/// Everything beside the model that decides what a step does.
fn identity(context: &Context<'_>, step: &Step) -> Result<String, JobError> {
    let data = match &context.calibration {
        Some(calibration) => {
            let data = calibration.dataset();
            data.hash().map_err(|source| JobError::Data { path: data.path().to_owned(), source })?
        }
        None => String::new(),
    };
    let teacher = teacher(context, step)?.map(|teacher| format!("\nteacher {}", teacher.digest)).unwrap_or_default();
    Ok(format!(
        "{}\n{}\nseed {}\n{data}{teacher}",
        step.to_json(),
        serde_json::json!(step.layers),
        context.request.seed
    ))
}

/// The network that a step learns from, if it names one.
fn teacher<'a>(context: &'a Context<'_>, step: &Step) -> Result<Option<&'a ModelFile>, JobError> {
    Ok(teacher_path(step)?.and_then(|path| context.teachers.get(&path)))
}

/// Applies a step; what it trains is kept under the key of its result.
fn apply(
    context: &Context<'_>,
    run: &Run,
    (index, step): (usize, &Step),
    state: &State,
    key: &UnitKey,
) -> Result<(State, Changes), JobError> {
    let calibration = context.calibration.as_ref().map(|data| data as &dyn Calibration);
    let (seed, threads) = (context.request.seed, context.request.threads);
    let (Some(settings), Some(data)) = (&step.train, &context.calibration) else {
        return apply_step(index, step, state, calibration, seed, threads, context.progress, context.interrupt, None);
    };
    let folder = StepFolder::create(run, index, &step.method)?;
    let (checkpoint, identity) = (folder.checkpoint(), key.digest().to_string());
    let training = Training {
        settings,
        data: data.dataset(),
        validation: context.eval.as_ref(),
        teacher: teacher(context, step)?.map(|teacher| &teacher.model),
        checkpoint: Some((&checkpoint, &identity)),
        watch: &folder,
    };
    let training = Some(training);
    apply_step(index, step, state, calibration, seed, threads, context.progress, context.interrupt, training)
}

/// Relative squared error of the output when one layer alone goes through the encoding step; worst first.
fn sensitivity(
    context: &Context<'_>,
    run: &Run,
    start: &State,
    encoding: usize,
) -> Result<Vec<(String, f64)>, JobError> {
    let mut state = start.clone();
    for (index, step) in context.recipe.steps.iter().enumerate().take(encoding) {
        state = stored_step(context, run, index, step, &state)?.0;
    }
    let model = state.model()?;
    let reference = outputs(context, &model)?;
    let step = &context.recipe.steps[encoding];
    let names: Vec<String> = model.graph.layers().into_iter().map(|layer| layer.name).collect();
    let selected = step.layers.select(&names).map_err(|error| JobError::Step {
        step: encoding + 1,
        method: step.method.clone(),
        source: MethodError::Layers(error),
    })?;
    let mut ranking = Vec::new();
    for (done, &index) in selected.iter().enumerate() {
        context.progress.report(done, selected.len(), &format!("sensitivity of {}", names[index]));
        let mut alone = step.clone();
        alone.layers = LayerFilter { include: vec![LayerPattern::exact(&names[index])], ..LayerFilter::all() };
        let key = UnitKey::new(
            &format!("sensitivity {}", names[index]),
            &state.digest(),
            &identity(context, &alone)?,
            VERSION,
        );
        let unit = run.unit(&key, || -> Result<Vec<u8>, StoreError> {
            let error = match apply(context, run, (encoding, &alone), &state, &key) {
                Ok((compressed, _)) => relative_error(&reference, &outputs(context, &compressed.model()?)?),
                // A layer the step cannot change costs nothing.
                Err(JobError::Step { source: MethodError::NothingToDo { .. }, .. }) => 0.0,
                Err(error) => return Err(error.into()),
            };
            Ok(error.to_le_bytes().to_vec())
        });
        let bytes = unit.map_err(StoreError::into_job)?;
        let error = bytes.first_chunk::<8>().map_or(0.0, |bytes| f64::from_le_bytes(*bytes));
        ranking.push((names[index].clone(), error));
    }
    context.progress.report(selected.len(), selected.len(), "sensitivity");
    ranking.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(ranking)
}

/// The first output on the first calibration samples, or on made-up inputs where there are none.
fn outputs(context: &Context<'_>, model: &Model) -> Result<Vec<f32>, JobError> {
    let session = Session::new(model, &context.options())?;
    let batch = match &context.calibration {
        Some(data) => {
            let n = data.fixed_batch().unwrap_or(SENSITIVITY_SAMPLES).min(data.len());
            data.batch(0, n).map_err(|error| JobError::Unfit {
                reason: error.to_string(),
                hint: "check the calibration data".to_owned(),
            })?
        }
        None => random_inputs(smallest_table(model), session.inputs(), 8, 128, context.request.seed)?,
    };
    let inputs: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let outputs = session.run(&inputs)?;
    Ok(outputs.first().map(Tensor::to_f32_vec).transpose()?.unwrap_or_default())
}

fn relative_error(reference: &[f32], actual: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = reference.iter().zip(actual).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let scale: f64 = reference.iter().map(|&a| square(a.into())).sum();
    if scale > 0.0 { error / scale } else { error }
}

fn described(ranking: &[(String, f64)], step: &Step) -> Sensitivity {
    Sensitivity {
        metric: "relative squared error of the output".to_owned(),
        unit: Unit::Number,
        setting: format!("{} {}", step.method, step.settings.to_json()),
        entries: ranking
            .iter()
            .map(|(layer, error)| SensitivityEntry { layer: layer.clone(), drop: Some(*error) })
            .collect(),
    }
}
