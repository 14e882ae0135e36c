//! Steps of a recipe, each a stored unit.

use lissom_compress::training::Training;
use lissom_compress::{Calibration, CalibrationError, Changes, Job, METHODS, Method, MethodError, Methods, Progress};
use lissom_data::Dataset;
use lissom_graph::Model;
use lissom_recipe::{Digest, Interrupt, RecipeError, Step};
use lissom_tensor::Tensor;

use crate::JobError;
use crate::model_file::{from_bytes, to_one_piece};

/// The model between steps, as the bytes it would be written in.
#[derive(Debug, Clone)]
pub struct State {
    /// The model.
    pub(crate) bytes: Vec<u8>,
    /// The model from before the last encoding step, at first the original.
    pub(crate) reference: Option<Vec<u8>>,
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct DoneStep {
    /// The method.
    pub method: String,
    /// Its settings, as JSON.
    pub settings: String,
    /// What it did.
    pub changes: Changes,
}

impl State {
    /// The state before the first step.
    ///
    /// # Errors
    /// If the model cannot be written.
    pub fn new(model: &Model) -> Result<Self, JobError> {
        let bytes = to_one_piece(model)?;
        Ok(Self { reference: Some(bytes.clone()), bytes })
    }

    /// The model.
    ///
    /// # Errors
    /// If the bytes cannot be read, which would be a bug.
    pub fn model(&self) -> Result<Model, JobError> {
        from_bytes(self.bytes.clone())
    }

    /// Hash of everything a step sees of the model.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of_parts([self.bytes.as_slice(), self.reference.as_deref().unwrap_or_default()])
    }

    /// One blob: what the step did, then the models.
    pub(crate) fn to_unit(&self, changes: &Changes) -> Vec<u8> {
        let changes = serde_json::to_vec(changes).unwrap_or_default();
        let reference = self.reference.as_deref().unwrap_or_default();
        let mut unit = Vec::with_capacity(16 + changes.len() + self.bytes.len() + reference.len());
        unit.extend_from_slice(&(changes.len() as u64).to_le_bytes());
        unit.extend_from_slice(&(self.bytes.len() as u64).to_le_bytes());
        unit.extend_from_slice(&changes);
        unit.extend_from_slice(&self.bytes);
        unit.extend_from_slice(reference);
        unit
    }

    /// Inverse of [`to_unit`](Self::to_unit).
    pub(crate) fn from_unit(unit: &[u8]) -> Result<(Self, Changes), JobError> {
        let torn = || JobError::Stored { reason: "a step's result is torn".to_owned() };
        let (lengths, rest) = unit.split_first_chunk::<16>().ok_or_else(torn)?;
        let length = |half: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&lengths[half * 8..half * 8 + 8]);
            u64::from_le_bytes(bytes) as usize
        };
        let (changes, rest) = rest.split_at_checked(length(0)).ok_or_else(torn)?;
        let (bytes, reference) = rest.split_at_checked(length(1)).ok_or_else(torn)?;
        let changes =
            serde_json::from_slice(changes).map_err(|error| JobError::Stored { reason: error.to_string() })?;
        let reference = (!reference.is_empty()).then(|| reference.to_vec());
        Ok((Self { bytes: bytes.to_vec(), reference }, changes))
    }
}

/// The method of a step, with its settings read.
pub(crate) fn method(step: &Step) -> Result<Box<dyn Method>, JobError> {
    let spec = Methods(METHODS).find(&step.method).ok_or_else(|| JobError::Usage {
        reason: format!("there is no method `{}`", step.method),
        hint: "`lissom methods` lists them".to_owned(),
    })?;
    (spec.parse)(&step.settings).map_err(|error| JobError::Recipe(RecipeError::from(error)))
}

/// Applies one step.
///
/// # Errors
/// [`JobError::Step`] naming the step.
#[allow(clippy::too_many_arguments)] // each is one thing a step sees; a struct would only rename them
pub fn apply_step(
    index: usize,
    step: &Step,
    state: &State,
    calibration: Option<&dyn Calibration>,
    seed: u64,
    threads: usize,
    progress: &dyn Progress,
    interrupt: &Interrupt,
    training: Option<Training<'_>>,
) -> Result<(State, Changes), JobError> {
    let method = method(step)?;
    let mut model = state.model()?;
    let reference = state.reference.clone().map(from_bytes).transpose()?;
    let (layers, reference) = (&step.layers, reference.as_ref());
    let job = Job { layers, calibration, reference, seed, threads, progress, interrupt, training };
    let in_step = |source: MethodError| JobError::Step { step: index + 1, method: step.method.clone(), source };
    let changes = method.apply(&mut model, &job).map_err(in_step)?;
    let reference = if method.is_encoding() { Some(state.bytes.clone()) } else { state.reference.clone() };
    Ok((State { bytes: to_one_piece(&model)?, reference }, changes))
}

/// A data set as methods see it: inputs only, labels hidden.
#[derive(Debug, Clone)]
pub struct DatasetCalibration {
    data: Dataset,
}

impl DatasetCalibration {
    /// Hides the labels of a data set.
    pub fn new(data: Dataset) -> Self {
        Self { data }
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.data
    }
}

impl Calibration for DatasetCalibration {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn batch(&self, start: usize, n: usize) -> Result<Vec<(String, Tensor)>, CalibrationError> {
        let positions: Vec<usize> = (start..start + n).collect();
        let batch = self.data.batch(&positions).map_err(|error| CalibrationError { reason: error.to_string() })?;
        Ok(batch.inputs)
    }

    fn fixed_batch(&self) -> Option<usize> {
        self.data.fixed_batch()
    }
}
