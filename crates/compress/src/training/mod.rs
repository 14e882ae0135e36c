//! What methods that train share: the settings of `[train]`, the data, and the loop that carries their technique.

mod settings;
mod told;

use std::fmt;
use std::path::Path;

use lissom_data::{Dataset, EpochSettings, Labels, SoftLabels};
use lissom_graph::{Model, ValueId};
use lissom_recipe::Settings;
use lissom_tensor::Tensor;
use lissom_train::{
    Checkpoints, FitData, FitOptions, Fitted, Group, Objective, Parameter, Source, Technique, TrainError, Trainer,
    TrainerOptions, Watch, fit,
};

pub use settings::{TrainSettings, model_of};

use crate::{Changes, Job, LayerChange, MethodError, WeightState};
use told::Told;

/// What a step that trains is given beside the [`Job`].
#[derive(Clone, Copy)]
pub struct Training<'a> {
    /// The step's `[train]`.
    pub settings: &'a Settings,
    /// Samples to learn from, with labels.
    pub data: &'a Dataset,
    /// Samples to watch progress on. Nothing is decided by them, and no technique sees them.
    pub validation: Option<&'a Dataset>,
    /// The network of the method's [`teacher`](crate::Method::teacher).
    pub teacher: Option<&'a Model>,
    /// The file the training is kept in, and what names everything that decides it.
    pub checkpoint: Option<(&'a Path, &'a str)>,
    /// Who looks on.
    pub watch: &'a dyn Watch,
}

impl fmt::Debug for Training<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Training").field("data", &self.data.path()).finish_non_exhaustive()
    }
}

impl From<TrainError> for MethodError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Interrupted(interrupted) => Self::Interrupted(interrupted),
            error => Self::Train(Box::new(error)),
        }
    }
}

/// Trains the parameters that the step's `layers` select, as `[train]` says, with a technique around each step.
///
/// # Errors
/// As [`run_selected`].
pub fn run(
    method: &'static str,
    technique: &mut dyn Technique,
    model: &mut Model,
    job: &Job<'_>,
) -> Result<Changes, MethodError> {
    run_selected(method, technique, model, job, |_| true)
}

/// As [`run`], for those of the selected parameters that `select` says.
///
/// # Errors
/// [`MethodError::NeedsTrainingData`]; [`MethodError::Train`] with the step and layer if numbers stop being finite;
/// [`MethodError::Interrupted`] once the state is kept.
pub fn run_selected(
    method: &'static str,
    technique: &mut dyn Technique,
    model: &mut Model,
    job: &Job<'_>,
    select: impl Fn(&Parameter) -> bool,
) -> Result<Changes, MethodError> {
    let training = job.training.ok_or(MethodError::NeedsTrainingData { method })?;
    if training.data.is_paired() {
        return Err(MethodError::NothingToDo { method, reason: "training on pairs of texts is not there yet".into() });
    }
    let settings = TrainSettings::read(training.settings)?;
    refuse_unmatched(job, model)?;
    let epochs = training.data.epochs(epoch_settings(&settings, training.data, job.seed)).map_err(TrainError::from)?;
    let validation = training.validation.map(|data| validation(&settings, data)).transpose()?.flatten();
    let mut options = TrainerOptions::new(settings.objective()?, settings.optimizer()?, settings.schedule()?, 0);
    options.seed = settings.seed.unwrap_or(job.seed);
    options.threads = job.threads;
    options.precision = settings.precision;
    options.forward.batch_norm = settings.batch_norm;
    options.forward.dropout = settings.dropout;
    options.step.clip_norm = settings.clip_norm;
    options.step.missing = settings.missing_gradient;
    options.step.recompute = settings.recompute.clone();
    (options.noise, options.average) = (settings.gradient_noise, settings.ema);
    let checkpoints = training.checkpoint.map(|(path, identity)| Checkpoints {
        path: path.to_owned(),
        every: settings.checkpoint_every(),
        identity: identity.to_owned(),
    });
    let plan = FitOptions {
        epochs: settings.epochs,
        evaluate_every: settings.evaluate_every,
        checkpoints,
        interrupt: job.interrupt.clone(),
    };
    let data = FitData {
        training: &epochs,
        validation: validation.as_ref().map(|(source, judge)| (source as &dyn Source, judge())),
    };
    let selected = |parameter: &Parameter| job.layers.matches(&parameter.node) && select(parameter);
    let told = Told::new(settings.metrics_every, job.progress, training.watch);
    let fitted = fit(model.clone(), options, selected, technique, &data, &plan, &told)?;
    let mut changes = changes(model, &fitted)?;
    changes.others = fitted.others;
    *model = fitted.model;
    Ok(changes)
}

/// A pattern that matches no layer and no node with parameters is a mistake.
///
/// # Errors
/// [`MethodError::Layers`].
pub(crate) fn refuse_unmatched(job: &Job<'_>, model: &Model) -> Result<(), MethodError> {
    let parameters = lissom_train::parameters(&model.graph);
    let mut names: Vec<String> = parameters.into_iter().map(|parameter| parameter.node).collect();
    names.dedup();
    job.layers.select(&names)?;
    Ok(())
}

fn epoch_settings(settings: &TrainSettings, data: &Dataset, seed: u64) -> EpochSettings {
    EpochSettings {
        batch_size: data.fixed_batch().unwrap_or(settings.batch),
        epochs: settings.epochs,
        seed: settings.seed.unwrap_or(seed),
        augmentations: settings.augment.clone(),
        soft_labels: settings.wants_probabilities().then(SoftLabels::default),
        ..EpochSettings::default()
    }
}

/// The validation data in order, and what it is judged by: plain cross-entropy, whatever the training makes small.
type Validation = (lissom_data::Epochs, fn() -> Objective);

fn validation(settings: &TrainSettings, data: &Dataset) -> Result<Option<Validation>, MethodError> {
    if !matches!(data.labels(), Some(Labels::Classes(_))) || data.is_paired() {
        return Ok(None);
    }
    let fixed = data.fixed_batch();
    let epochs = EpochSettings {
        batch_size: fixed.unwrap_or(settings.batch),
        shuffle: false,
        drop_last: fixed.is_some(),
        ..EpochSettings::default()
    };
    let epochs = data.epochs(epochs).map_err(TrainError::from)?;
    Ok(Some((epochs, settings::judge)))
}

/// What became of every weight, and how the training went.
fn changes(before: &Model, fitted: &Fitted) -> Result<Changes, MethodError> {
    let mut changes = Changes::default();
    for layer in fitted.model.graph.layers() {
        let Some(after) = fitted.model.graph.constant(layer.weight) else { continue };
        let before = same_layer(before, &layer.name).and_then(|weight| before.graph.constant(weight));
        if before == Some(after) {
            continue;
        }
        let after = WeightState::of(after)?;
        let before = before.map_or_else(|| Ok(after.clone()), WeightState::of)?;
        changes.layers.push(LayerChange { layer: layer.name, before, after });
    }
    let accuracy = |accuracy: Option<f64>| accuracy.map(|share| format!(", accuracy {:.2} %", 100.0 * share));
    let mut note = format!("{} steps", fitted.steps);
    for (what, evaluated) in [("after the last one", fitted.last), ("best", fitted.best)] {
        if let Some(evaluated) = evaluated {
            let accuracy = accuracy(evaluated.accuracy).unwrap_or_default();
            note += &format!("; {what}: loss {:.4}{accuracy} (step {})", evaluated.loss, evaluated.step);
        }
    }
    changes.notes.push(note);
    changes.notes.extend(fitted.notes.iter().map(|note| format!("while training: {note}")));
    Ok(changes)
}

fn same_layer(model: &Model, name: &str) -> Option<ValueId> {
    model.graph.layers().into_iter().find(|layer| layer.name == name).map(|layer| layer.weight)
}

/// Gives every trained weight a mask that keeps its zeros where they are; the training was made with `step.masks`.
///
/// # Errors
/// Whatever the trainer says.
pub fn keep_zeros(trainer: &mut Trainer) -> Result<(), TrainError> {
    let weights: Vec<String> = trainer
        .parameters()
        .iter()
        .filter(|parameter| parameter.group == Group::Weight)
        .map(|parameter| parameter.name.clone())
        .collect();
    for name in weights {
        let Some(weight) = trainer.tensor(&name) else { continue };
        let mask = weight.to_f32_vec()?.into_iter().map(|w| if w == 0.0 { 0.0 } else { 1.0 }).collect::<Vec<f32>>();
        let mask = Tensor::new(weight.shape(), mask)?;
        trainer.set_mask(&name, mask)?;
    }
    Ok(())
}
