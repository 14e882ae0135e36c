//! What a method is, and what it is given.

use std::fmt;
use std::path::Path;

use lissom_engine::{EngineError, Session, SessionOptions};
use lissom_graph::{Layer, LoadError, Model, Node, OpError, ValueId, VerifyError};
use lissom_recipe::{Interrupt, Interrupted, LayerFilter, MethodCatalog, Settings, SettingsError, UnmatchedPattern};
use lissom_tensor::{Tensor, TensorError};
use lissom_train::{Technique, TrainError};

use crate::training::{self, TrainSettings, Training};
use crate::{Calibration, CalibrationError, Changes, Skipped};

/// A method as it stands in [`METHODS`](crate::METHODS).
#[derive(Clone, Copy)]
pub struct MethodSpec {
    /// The word in recipes, reports and on the command line.
    pub name: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Settings of a typical step, as TOML; tests run it and the documentation shows it.
    pub example: &'static str,
    /// Reads and checks the settings.
    pub parse: fn(&Settings) -> Result<Box<dyn Method>, SettingsError>,
}

impl fmt::Debug for MethodSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A method with its settings.
pub trait Method: fmt::Debug + Send + Sync {
    /// Whether it looks at calibration data.
    fn needs_calibration(&self) -> bool {
        false
    }

    /// Whether it encodes weights or activations with loss, so that later corrections want the model from before it.
    fn is_encoding(&self) -> bool {
        false
    }

    /// What it does while the network trains, for a method that works during training.
    fn technique(&self) -> Option<Box<dyn Technique>> {
        None
    }

    /// Whether it trains, so that its step has a `[train]` table and wants data with labels.
    fn is_training(&self) -> bool {
        self.technique().is_some()
    }

    /// A model file it learns from, as the recipe names it: relative to the recipe.
    fn teacher(&self) -> Option<&Path> {
        None
    }

    /// Whether the result answers another question than the network before, so that the two cannot be compared.
    fn is_other_task(&self) -> bool {
        false
    }

    /// Changes the model. Deterministic: same model, data, seed and settings, same result at any number of threads.
    ///
    /// # Errors
    /// [`MethodError`]; the model may then be half changed and is thrown away.
    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError>;
}

/// What a method is given beside the model.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Which layers the step is for.
    pub layers: &'a LayerFilter,
    /// Data to look at, if the user gave any.
    pub calibration: Option<&'a dyn Calibration>,
    /// What corrections steer towards: the model from before the last encoding step, or the original if there was none.
    pub reference: Option<&'a Model>,
    /// Seed of anything random.
    pub seed: u64,
    /// Threads to work with; 0 means one per core.
    pub threads: usize,
    /// Told how far the step is.
    pub progress: &'a dyn Progress,
    /// Asked between units of work.
    pub interrupt: &'a Interrupt,
    /// What a step that trains is given.
    pub training: Option<Training<'a>>,
}

/// Told how far a step is.
pub trait Progress: Sync {
    /// `done` of `total` units; `what` names the one that begins.
    fn report(&self, done: usize, total: usize, what: &str);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _done: usize, _total: usize, _what: &str) {}
}

/// Why a method could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum MethodError {
    #[error("`{method}` needs calibration data")]
    NeedsCalibration { method: &'static str },
    #[error("`{method}` trains, and needs data to learn from")]
    NeedsTrainingData { method: &'static str },
    #[error(transparent)]
    Train(Box<TrainError>),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the calibration data is empty")]
    EmptyCalibration,
    #[error("{have} calibration samples do not fill one batch of {fixed}, which the model insists on")]
    TooFewSamples { have: usize, fixed: usize },
    #[error("`{method}` found nothing to do: {reason}")]
    NothingToDo { method: &'static str, reason: String },
    #[error("layer `{layer}`: {reason}")]
    Layer { layer: String, reason: String },
    #[error("layer `{layer}`: its weight holds {what}")]
    NotFinite { layer: String, what: &'static str },
    #[error("value `{value}` is not finite on calibration data (sample {sample})")]
    ActivationNotFinite { value: String, sample: usize },
    #[error(transparent)]
    Layers(#[from] UnmatchedPattern),
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Operator(#[from] OpError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error(transparent)]
    Pass(#[from] lissom_passes::PassError),
}

impl MethodError {
    /// [`MethodError::NothingToDo`] with the reasons of what was skipped, a layer as example for each of the first few.
    pub fn nothing_to_do(method: &'static str, what: &str, skipped: &[Skipped]) -> Self {
        const MOST: usize = 4;
        let mut examples: Vec<&Skipped> = Vec::new();
        for layer in skipped {
            if examples.len() < MOST && examples.iter().all(|example| example.reason != layer.reason) {
                examples.push(layer);
            }
        }
        let parts = examples.iter().map(|example| format!("; layer `{}`: {}", example.layer, example.reason));
        Self::NothingToDo { method, reason: parts.fold(what.to_owned(), |reason, part| reason + &part) }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsCalibration { .. } => {
                Some("give some with `--data PATH`; training images do, test data never".into())
            }
            Self::NeedsTrainingData { .. } => Some("give some with labels with `--data PATH`".into()),
            Self::Train(error) => error.hint(),
            Self::Settings(error) => error.hint(),
            Self::TooFewSamples { fixed, .. } => Some(format!("give at least {fixed} samples")),
            Self::NotFinite { .. } => Some("the model is broken before compression; train or export it again".into()),
            Self::Layers(error) => Some(error.hint()),
            _ => None,
        }
    }
}

impl<'a> Job<'a> {
    /// The layers the step is for, in the order of the graph.
    ///
    /// # Errors
    /// [`MethodError::Layers`] if a pattern matches nothing.
    pub fn layers(&self, model: &Model) -> Result<Vec<Layer>, MethodError> {
        let layers = model.graph.layers();
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let selected = self.layers.select(&names)?;
        Ok(selected.into_iter().map(|index| layers[index].clone()).collect())
    }

    /// The selected layers inside of `If`, `Loop` and `Scan` whose node `is_meant`, for a step that does not go there.
    pub fn inside_subgraphs(&self, model: &Model, is_meant: impl Fn(&Node) -> bool) -> Vec<Skipped> {
        let mut skipped = Vec::new();
        for graph in model.graph.subgraphs() {
            for layer in graph.layers() {
                if is_meant(&graph.nodes()[layer.node]) && self.layers.matches(&layer.name) {
                    let reason = "it lies inside a subgraph, which this step does not enter".to_owned();
                    skipped.push(Skipped { layer: layer.name, reason });
                }
            }
        }
        skipped
    }

    /// The calibration data.
    ///
    /// # Errors
    /// [`MethodError::NeedsCalibration`], [`MethodError::EmptyCalibration`].
    pub fn calibration(&self, method: &'static str) -> Result<&'a dyn Calibration, MethodError> {
        let data = self.calibration.ok_or(MethodError::NeedsCalibration { method })?;
        if data.is_empty() { Err(MethodError::EmptyCalibration) } else { Ok(data) }
    }

    /// How many samples are looked at where `n_samples` are wanted: no more than there are, and where the model insists
    /// on a batch size whole batches, at least one.
    ///
    /// # Errors
    /// As [`Job::calibration`]; [`MethodError::TooFewSamples`] if there is no whole batch.
    pub fn n_samples(&self, method: &'static str, n_samples: usize) -> Result<usize, MethodError> {
        let data = self.calibration(method)?;
        let (have, wanted) = (data.len(), n_samples.min(data.len()));
        match data.fixed_batch().map(|fixed| fixed.max(1)) {
            Some(fixed) if fixed > have => Err(MethodError::TooFewSamples { have, fixed }),
            Some(fixed) => Ok((wanted - wanted % fixed).max(fixed)),
            None => Ok(wanted),
        }
    }

    /// Runs a model over the first samples of the calibration data, as many as [`Job::n_samples`] says, and hands the values of each batch to `visit`, with
    /// the number of samples before it.
    ///
    /// # Errors
    /// Whatever reading, running and `visit` say.
    pub fn observe(
        &self,
        method: &'static str,
        model: &Model,
        values: &[ValueId],
        n_samples: usize,
        mut visit: impl FnMut(usize, &[Tensor]) -> Result<(), MethodError>,
    ) -> Result<(), MethodError> {
        /// Enough to keep the kernels busy, small enough for memory.
        const BATCH: usize = 32;
        /// Bytes the observed values of one batch may take, as far as their shapes are known.
        const MEMORY: usize = 256 << 20;
        let data = self.calibration(method)?;
        let sample_bytes = |id: &ValueId| -> usize {
            let lengths = model.graph.value(*id).fact.shape.iter().flatten().skip(1);
            lengths.map(|length| length.known().unwrap_or(1)).fold(4, usize::saturating_mul)
        };
        let bytes = values.iter().map(sample_bytes).fold(1, usize::saturating_add);
        let options = SessionOptions { threads: self.threads, observe: values.to_vec(), ..SessionOptions::default() };
        let session = Session::new(model, &options)?;
        let n_outputs = model.graph.outputs().len();
        let total = self.n_samples(method, n_samples)?;
        let batch = data.fixed_batch().unwrap_or((MEMORY / bytes).clamp(1, BATCH)).max(1);
        let mut start = 0;
        while start < total {
            self.interrupt.check()?;
            let n = batch.min(total - start);
            self.progress.report(start, total, "calibrating");
            let inputs = data.batch(start, n)?;
            let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            visit(start, &session.run(&inputs)?[n_outputs..])?;
            start += n;
        }
        self.progress.report(total, total, "calibrating");
        Ok(())
    }
}

/// The list of methods, as recipes want it.
#[derive(Debug, Clone, Copy)]
pub struct Methods(pub &'static [MethodSpec]);

impl Methods {
    /// The method of this name.
    pub fn find(&self, name: &str) -> Option<&'static MethodSpec> {
        self.0.iter().find(|spec| spec.name == name)
    }
}

impl MethodCatalog for Methods {
    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|spec| spec.name).collect()
    }

    fn check(&self, method: &str, settings: &Settings) -> Result<(), SettingsError> {
        self.find(method).map_or(Ok(()), |spec| (spec.parse)(settings).map(|_| ()))
    }

    fn is_training(&self, method: &str, settings: &Settings) -> bool {
        self.find(method).is_some_and(|spec| (spec.parse)(settings).is_ok_and(|method| method.is_training()))
    }

    fn check_train(&self, train: &Settings) -> Result<(), SettingsError> {
        TrainSettings::read(train).map(|_| ())
    }

    fn check_model(&self, model: &Settings) -> Result<(), SettingsError> {
        training::model_of(model).map(|_| ())
    }

    fn plain_training(&self) -> Option<&str> {
        Some("fine_tune")
    }
}
