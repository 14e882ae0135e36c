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
    /// The model from before the last encoding step, at first the original; of a recipe that begins with an architecture the one its first training
    /// made.
    pub(crate) reference: Option<Vec<u8>>,
}

/// A step that was done.
#[derive(Debug, Clone)]
pub struct DoneStep {
    /// The method.
    pub method: String,
    /// Its settings, as JSON.
    pub settings: String,
    /// What it did.
    pub changes: Changes,
    /// The network it ended with, where it made others beside it.
    pub(crate) result: Option<Vec<u8>>,
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

    /// One blob: how long each part is, what the step did, the models, and the networks it made beside them.
    ///
    /// # Errors
    /// If one of those cannot be written.
    pub(crate) fn to_unit(&self, changes: &Changes) -> Result<Vec<u8>, JobError> {
        let mut parts = vec![
            serde_json::to_vec(changes).unwrap_or_default(),
            self.bytes.clone(),
            self.reference.clone().unwrap_or_default(),
        ];
        for (name, model) in &changes.others {
            parts.extend([name.as_bytes().to_vec(), to_one_piece(model)?]);
        }
        let mut unit = (parts.len() as u64).to_le_bytes().to_vec();
        parts.iter().for_each(|part| unit.extend_from_slice(&(part.len() as u64).to_le_bytes()));
        parts.iter().for_each(|part| unit.extend_from_slice(part));
        Ok(unit)
    }

    /// Inverse of [`to_unit`](Self::to_unit).
    ///
    /// # Errors
    /// [`JobError::Stored`] if the bytes are not what was stored.
    pub(crate) fn from_unit(unit: &[u8]) -> Result<(Self, Changes), JobError> {
        let torn = || JobError::Stored { reason: "a step's result is torn".to_owned() };
        let parts = parts(unit).ok_or_else(torn)?;
        let [changes, bytes, reference, others @ ..] = &parts[..] else { return Err(torn()) };
        let mut changes: Changes =
            serde_json::from_slice(changes).map_err(|error| JobError::Stored { reason: error.to_string() })?;
        for pair in others.chunks_exact(2) {
            let name = String::from_utf8(pair[0].to_vec()).map_err(|_| torn())?;
            changes.others.push((name, from_bytes(pair[1].to_vec())?));
        }
        let reference = (!reference.is_empty()).then(|| reference.to_vec());
        Ok((Self { bytes: bytes.to_vec(), reference }, changes))
    }
}

/// The parts of a blob that begins with their number and lengths.
fn parts(unit: &[u8]) -> Option<Vec<&[u8]>> {
    let number = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).ok();
    let (count, rest) = unit.split_first_chunk::<8>()?;
    let (lengths, mut rest) = rest.split_at_checked(number(count)?.checked_mul(8)?)?;
    let mut parts = Vec::new();
    for length in lengths.as_chunks::<8>().0 {
        let (part, others) = rest.split_at_checked(number(length)?)?;
        parts.push(part);
        rest = others;
    }
    Some(parts)
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
    let bytes = to_one_piece(&model)?;
    let reference = match (method.is_encoding(), &state.reference) {
        (true, _) => Some(state.bytes.clone()),
        // What began as random numbers is worth something from its first training on.
        (false, None) if method.is_training() => Some(bytes.clone()),
        (false, reference) => reference.clone(),
    };
    Ok((State { bytes, reference }, changes))
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
