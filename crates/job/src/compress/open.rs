//! What a job begins with: recipe, model and data, and everything that can be refused before any work is done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lissom_compress::training::model_of;
use lissom_compress::{METHODS, Methods, Progress};
use lissom_data::Dataset;
use lissom_engine::{Session, SessionOptions};
use lissom_graph::Model;
use lissom_onnx::WriteOptions;
use lissom_recipe::{Digest, Interrupt, Recipe, RecipeError, SettingsError, Step};

use super::{CompressRequest, Context, DatasetCalibration, parsed};
use crate::JobError;
use crate::evaluate::sampled;
use crate::model_file::{ModelFile, load, refuse_not_finite, to_bytes};
use crate::outputs::{has_labels, open_data};

/// Reads everything a job needs and refuses what cannot work before any work is done.
pub(super) fn open<'a>(
    request: &'a CompressRequest,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
    wants_data: bool,
) -> Result<Context<'a>, JobError> {
    let recipe = Recipe::parse(&request.recipe, &Methods(METHODS))?;
    let file = model_file(request, &recipe)?;
    let session = Session::new(&file.model, &SessionOptions { threads: 1, ..SessionOptions::default() })?;
    let inputs = session.inputs();
    let data = |path: &Option<PathBuf>, settings: &Option<PathBuf>| {
        path.as_deref().map(|path| open_data(path, settings.as_deref(), inputs)).transpose()
    };
    let calibration = data(&request.data, &request.data_settings)?;
    let eval = data(&request.eval_data, &request.eval_data_settings)?;
    if let (Some(calibration), Some(eval)) = (&calibration, &eval) {
        refuse_shared(calibration, eval)?;
    }
    let eval = eval.map(|data| sampled(data, request.eval_samples, request.seed)).transpose()?;
    let budget = recipe.budget.overridden_by(&request.budget);
    let is_other_task = is_other_task(&recipe)?;
    if (request.model.is_none() || is_other_task) && (budget.max_drop.is_some() || budget.max_class_drop.is_some()) {
        return Err(JobError::Usage {
            reason: match is_other_task {
                true => "a budget on a drop of accuracy needs a result that answers the same question".to_owned(),
                false => "a budget on a drop of accuracy needs a model to begin with".to_owned(),
            },
            hint: match is_other_task {
                true => "leave `max_drop` and `max_class_drop` out".to_owned(),
                false => "give `--model PATH`, or leave `max_drop` and `max_class_drop` out".to_owned(),
            },
        });
    }
    let wants_labels = wants_data && (budget.max_drop.is_some() || budget.max_class_drop.is_some());
    if wants_labels && !eval.as_ref().is_some_and(has_labels) {
        return Err(JobError::Usage {
            reason: "a budget on accuracy needs data with labels to judge on".to_owned(),
            hint: "give `--eval-data PATH`, or leave `--max-drop` and `--max-class-drop` out".to_owned(),
        });
    }
    if wants_data {
        refuse_missing_data(&recipe, calibration.as_ref())?;
    }
    refuse_not_finite(&file.model)?;
    let mut original = file.model.clone();
    let simplified = lissom_passes::simplify(&mut original)?;
    refuse_unmatched(&recipe, &original)?;
    let calibration = calibration.map(DatasetCalibration::new);
    let teachers = teachers(request, &recipe)?;
    Ok(Context { request, recipe, file, original, simplified, calibration, eval, teachers, progress, interrupt })
}

/// Whether a step makes a network for another task of it.
pub(super) fn is_other_task(recipe: &Recipe) -> Result<bool, JobError> {
    recipe.steps.iter().try_fold(false, |found, step| Ok(found || parsed(step)?.is_other_task()))
}

/// The networks that steps learn from, by the paths they are read from.
fn teachers(request: &CompressRequest, recipe: &Recipe) -> Result<BTreeMap<PathBuf, ModelFile>, JobError> {
    let mut teachers = BTreeMap::new();
    for step in &recipe.steps {
        if let Some(path) = teacher_path(step)? {
            let file = load(&path, &request.read)?;
            refuse_not_finite(&file.model)?;
            teachers.insert(path, file);
        }
    }
    Ok(teachers)
}

/// Where the model file is that a step learns from: relative to the recipe.
pub(super) fn teacher_path(step: &Step) -> Result<Option<PathBuf>, JobError> {
    let method = parsed(step)?;
    let folder = step.place().and_then(|place| Path::new(&*place.file).parent().map(Path::to_owned));
    Ok(method.teacher().map(|teacher| folder.unwrap_or_default().join(teacher)))
}

/// The file, or a new network of the architecture that the recipe names.
fn model_file(request: &CompressRequest, recipe: &Recipe) -> Result<ModelFile, JobError> {
    let usage = |reason: &str, hint: &str| JobError::Usage { reason: reason.to_owned(), hint: hint.to_owned() };
    match (&request.model, &recipe.model) {
        (Some(path), None) => load(path, &request.read),
        (None, Some(settings)) => {
            let in_model = |error: SettingsError| RecipeError::from(error.under("model"));
            let (name, architecture) = model_of(settings).map_err(in_model)?;
            let seed = request.seed;
            let model = architecture.build(seed).map_err(|error| JobError::Unfit {
                reason: error.to_string(),
                hint: "change the settings of the architecture in `[model]`".to_owned(),
            })?;
            let bytes = to_bytes(&model, &WriteOptions::default())?.bytes;
            let (size_bytes, digest) = (bytes.len() as u64, Digest::of(&bytes));
            Ok(ModelFile { path: PathBuf::from(name), model, size_bytes, digest, warnings: Vec::new() })
        }
        (Some(_), Some(_)) => {
            let reason = "the recipe's `[model]` names an architecture, and a model file is given too";
            Err(usage(reason, "leave one of them out"))
        }
        (None, None) => {
            Err(usage("there is nothing to begin with", "give a model, or `[model] architecture = NAME` in the recipe"))
        }
    }
}

/// Steps that look at data want some, those that train want labels too.
fn refuse_missing_data(recipe: &Recipe, data: Option<&Dataset>) -> Result<(), JobError> {
    for (index, step) in recipe.steps.iter().enumerate() {
        let usage = |wants: &str, hint: &str| {
            let reason = format!("step {} (`{}`) {wants}", index + 1, step.method);
            Err(JobError::Usage { reason, hint: hint.to_owned() })
        };
        if step.train.is_some() && !data.is_some_and(has_labels) {
            return usage("trains, and needs data with labels", "give `--data PATH`: never the data you judge on");
        }
        if parsed(step)?.needs_calibration() && data.is_none() {
            let hint = "give `--data PATH`: training images or texts, never the data you judge on";
            return usage("needs calibration data", hint);
        }
    }
    Ok(())
}

/// A layer pattern that matches nothing is found here rather than after the steps before it.
fn refuse_unmatched(recipe: &Recipe, model: &Model) -> Result<(), JobError> {
    let layers: Vec<String> = model.graph.layers().into_iter().map(|layer| layer.name).collect();
    let nodes = model.graph.nodes().iter().map(|node| node.name.clone());
    let all: Vec<String> = layers.iter().cloned().chain(nodes).collect();
    for (index, step) in recipe.steps.iter().enumerate() {
        // Some methods take more than layers with weights; they know best what to say of those.
        if let Err(unmatched) = step.layers.select(&layers)
            && !step.layers.unmatched(&all).is_empty()
        {
            return Err(JobError::Step { step: index + 1, method: step.method.clone(), source: unmatched.into() });
        }
    }
    Ok(())
}

fn refuse_shared(calibration: &Dataset, eval: &Dataset) -> Result<(), JobError> {
    let hash = |data: &Dataset| data.hash().map_err(|source| JobError::Data { path: data.path().to_owned(), source });
    if hash(calibration)? == hash(eval)? {
        return Err(JobError::Usage {
            reason: "calibration and evaluation use the same data, so the accuracy would be too good to be true".into(),
            hint: "calibrate on training data (`FOLDER#train` names that part of a folder that holds both)".into(),
        });
    }
    Ok(())
}
