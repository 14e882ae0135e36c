//! Running a step on tensors by name.

use std::collections::BTreeMap;

use lissom_engine::{Session, SessionOptions, StepTime};
use lissom_tensor::{DType, Tensor, TensorError, View, ViewMut};

use crate::{Forward, Objective, Step, TrainError};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// A batch as tensors by name; their elements are shared.
pub(crate) fn owned(batch: &[(&str, &Tensor)]) -> Named {
    batch.iter().map(|(name, tensor)| ((*name).to_owned(), (*tensor).clone())).collect()
}

/// Buffers to be given away one by one.
pub(crate) fn borrowed(buffers: &mut Named) -> BTreeMap<&str, &mut Tensor> {
    buffers.iter_mut().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// A step with the session that runs it.
#[derive(Debug)]
pub struct Runner {
    /// The step.
    pub step: Step,
    session: Session,
}

impl Runner {
    /// Prepares a step.
    ///
    /// # Errors
    /// [`TrainError::Engine`].
    pub fn new(step: Step, options: &SessionOptions) -> Result<Self, TrainError> {
        let session = Session::new(&step.model, options)?;
        Ok(Self { step, session })
    }

    /// Runs the step. Inputs are found by name, in the first list that has them; the outputs that are named are written to
    /// the tensors beside them, and what only others need is not computed.
    ///
    /// # Errors
    /// [`TrainError::MissingInput`], and what the engine refuses.
    pub fn run(&self, inputs: &[&Named], outputs: &mut [(&str, &mut Tensor)]) -> Result<(), TrainError> {
        let mut views: Vec<(&str, View<'_>)> = Vec::new();
        for input in self.session.inputs() {
            let found = inputs.iter().find_map(|named| named.get(&input.name));
            let tensor = found.ok_or_else(|| TrainError::MissingInput { name: input.name.clone() })?;
            views.push((&input.name, View::of(tensor).ok_or_else(|| not_trainable(tensor.dtype()))?));
        }
        let mut slices: Vec<(&str, ViewMut<'_>)> = Vec::with_capacity(outputs.len());
        for (name, tensor) in outputs {
            let dtype = tensor.dtype();
            slices.push((name, ViewMut::of(tensor).ok_or_else(|| not_trainable(dtype))?));
        }
        Ok(self.session.run_into(&views, &mut slices)?)
    }

    /// How long each part takes.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(&self, inputs: &[&Named]) -> Result<Vec<StepTime>, TrainError> {
        let mut tensors: Vec<(&str, &Tensor)> = Vec::new();
        for input in self.session.inputs() {
            let found = inputs.iter().find_map(|named| named.get(&input.name));
            tensors.push((&input.name, found.ok_or_else(|| TrainError::MissingInput { name: input.name.clone() })?));
        }
        Ok(self.session.profile(&tensors)?)
    }

    /// What did not run in a kernel of its own so far, and why.
    pub fn notes(&self) -> Vec<String> {
        self.session.notes()
    }

    /// Memory the session holds: packed weights and arenas, in bytes.
    pub fn peak_bytes(&self) -> usize {
        self.session.peak_bytes()
    }
}

pub(crate) fn not_trainable(dtype: DType) -> TrainError {
    TensorError::TypeMismatch { expected: DType::F32, actual: dtype }.into()
}

/// A network with its loss, to be judged on batches.
#[derive(Debug)]
pub struct Evaluator {
    runner: Runner,
}

/// What a network is worth on a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean over the batch.
    pub loss: f64,
    /// How many are right, if there are targets to tell.
    pub correct: Option<u64>,
}

impl Evaluator {
    /// Prepares a network as it answers: running statistics, no dropout.
    ///
    /// # Errors
    /// [`TrainError`] if a node cannot run or a loss does not fit.
    pub fn new(
        model: &lissom_graph::Model,
        objective: &Objective,
        options: &SessionOptions,
    ) -> Result<Self, TrainError> {
        let step = Step::evaluation(&Forward::evaluation(model, objective)?)?;
        Ok(Self { runner: Runner::new(step, options)? })
    }

    /// Judges a batch.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run(&self, batch: &[(&str, &Tensor)]) -> Result<Evaluation, TrainError> {
        let given = owned(batch);
        let mut report = crate::report::Report::default();
        let mut outputs = report.outputs(&self.runner.step);
        self.runner.run(&[&given], &mut outputs)?;
        let progress = report.progress(0, 0.0);
        Ok(Evaluation { loss: progress.loss, correct: progress.correct })
    }
}
