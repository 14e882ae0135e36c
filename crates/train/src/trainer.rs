//! Running steps: what one gives is fed to the next, from two sets of buffers in turn.

mod carried;
mod culprit;
mod feed;
mod masks;
mod twice;

use std::collections::{BTreeMap, BTreeSet};

use lissom_engine::{SessionOptions, StepTime};
use lissom_graph::{Fact, Model};
use lissom_tensor::{DType, Tensor};

use twice::{Pass, Twice};

use crate::report::{Progress, Report};
use crate::runner::{borrowed, not_trainable, owned};
use crate::{
    Carried, Detour, Evaluator, Forward, ForwardOptions, Missing, Named, Objective, Optimizer, Parameter, Role, Runner,
    Schedule, Step, StepOptions, TrainError,
};

/// How products compute: convolutions, matrix products, and their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// In f32.
    #[default]
    F32,
    /// Operands are rounded to bf16, sums are f32. Images between convolutions and batch norms are kept in bf16; parameters, statistics,
    /// losses and optimizers stay f32.
    Bf16,
}

/// How a network is trained.
#[derive(Debug)]
pub struct TrainerOptions {
    /// What is made small.
    pub objective: Objective,
    /// How parameters change.
    pub optimizer: Box<dyn Optimizer>,
    /// The learning rate over time.
    pub schedule: Box<dyn Schedule>,
    /// Steps of the whole training, for the schedule.
    pub total_steps: u64,
    /// Seed of dropout and noise.
    pub seed: u64,
    /// Norms and dropout.
    pub forward: ForwardOptions,
    /// Clipping, recomputation and what else a step does; noise and average follow from the next two.
    pub step: StepOptions,
    /// η of gradient noise, whose variance is η / (1 + t)^0.55 (Neelakantan et al. 2015, arXiv:1511.06807).
    pub noise: Option<f64>,
    /// Decay d of the moving average of the parameters; early on it is (1 + t) / (10 + t), if that is less.
    pub average: Option<f64>,
    /// Where the gradient is taken, if not at the weights; goes before what the optimizer says of it.
    pub detour: Option<Box<dyn Detour>>,
    /// Threads; 0 means one per core. The bytes are the same with any number.
    pub threads: usize,
    /// How products compute.
    pub precision: Precision,
}

impl TrainerOptions {
    /// Plain training.
    pub fn new(
        objective: impl Into<Objective>,
        optimizer: Box<dyn Optimizer>,
        schedule: Box<dyn Schedule>,
        total_steps: u64,
    ) -> Self {
        Self {
            objective: objective.into(),
            optimizer,
            schedule,
            total_steps,
            seed: 0,
            forward: ForwardOptions::default(),
            step: StepOptions::default(),
            noise: None,
            average: None,
            detour: None,
            threads: 0,
            precision: Precision::F32,
        }
    }

    /// How steps are run.
    fn session(&self) -> SessionOptions {
        let bf16 = self.precision == Precision::Bf16;
        SessionOptions { threads: self.threads, bf16, ..SessionOptions::default() }
    }
}

/// A network in training.
#[derive(Debug)]
pub struct Trainer {
    options: TrainerOptions,
    original: Model,
    forward: Forward,
    passes: Passes,
    /// Made when somebody asks for gradients alone.
    gradient: Option<Runner>,
    roles: BTreeMap<String, Role>,
    /// What steps carry, by input name.
    front: BTreeMap<String, Tensor>,
    /// Where the next step writes it.
    back: BTreeMap<String, Tensor>,
    done: u64,
}

#[derive(Debug)]
enum Passes {
    /// Everything in one graph.
    One(Box<Runner>),
    /// The gradient is taken at other weights.
    Twice(Box<Twice>),
}

impl Passes {
    /// What takes the gradient.
    fn gradient(&self) -> &Runner {
        match self {
            Self::One(runner) => runner,
            Self::Twice(twice) => &twice.gradient,
        }
    }

    /// What updates the parameters.
    fn update(&self) -> &Runner {
        match self {
            Self::One(runner) => runner,
            Self::Twice(twice) => &twice.update,
        }
    }
}

/// The outputs of a step that are carried, with the buffers they go to.
fn carried_outputs<'a>(
    step: &'a Step,
    back: &'a mut Named,
    wanted: impl Fn(&Carried) -> bool,
) -> Vec<(&'a str, &'a mut Tensor)> {
    let mut buffers = borrowed(back);
    let carried = step.carried.iter().filter(|carried| wanted(carried));
    carried.filter_map(|carried| Some((carried.output.as_deref()?, buffers.remove(carried.input.as_str())?))).collect()
}

impl Trainer {
    /// Prepares a network for training.
    ///
    /// # Errors
    /// [`TrainError`] if an operator has no gradient, the loss does not fit, or the network is not of f32.
    pub fn new(
        model: &Model,
        options: TrainerOptions,
        select: impl Fn(&Parameter) -> bool,
    ) -> Result<Self, TrainError> {
        let mut forward = Forward::new(model, &options.objective, select, &options.forward)?;
        if forward.dtype != DType::F32 {
            return Err(not_trainable(forward.dtype));
        }
        let mut step = options.step.clone();
        (step.noise, step.average) = (options.noise.is_some(), options.average.is_some());
        if step.missing == Missing::Freeze {
            let reached = Step::gradient(&forward, &step)?.outputs.tensors;
            let reached: BTreeSet<String> = reached.into_iter().map(|(name, _)| name).collect();
            let is_reached = |parameter: &Parameter| reached.contains(&parameter.name);
            forward = Forward::new(model, &options.objective, is_reached, &options.forward)?;
        }
        let optimizer = &*options.optimizer;
        let session = options.session();
        let is_detour = options.detour.is_some();
        let perturbation = match &options.detour {
            Some(detour) => detour.perturbation(),
            None => optimizer.perturbation(),
        };
        let passes = if perturbation.is_none() && !is_detour {
            Passes::One(Box::new(Runner::new(Step::training(&forward, optimizer, &step)?, &session)?))
        } else {
            let gradient = Runner::new(Step::gradient(&forward, &step)?, &session)?;
            let update = Runner::new(Step::update(&forward, optimizer, &step)?, &session)?;
            let moved = match perturbation {
                Some(perturbation) => Some(Runner::new(Step::perturbation(&forward, perturbation)?, &session)?),
                None => None,
            };
            Passes::Twice(Box::new(Twice::new([gradient, update], moved, &forward.parameters)?))
        };
        let steps: Vec<&Step> = match &passes {
            Passes::One(runner) => vec![&runner.step],
            Passes::Twice(twice) => vec![&twice.update.step, &twice.gradient.step],
        };
        let (mut roles, mut front, mut back) = (BTreeMap::new(), Named::new(), Named::new());
        for carried in steps.iter().flat_map(|step| &step.carried) {
            roles.entry(carried.input.clone()).or_insert_with(|| carried.role.clone());
            front.entry(carried.input.clone()).or_insert_with(|| carried.initial.clone());
            if carried.output.is_some() {
                let zeros = Tensor::zeros(carried.initial.dtype(), carried.initial.shape())?;
                back.insert(carried.input.clone(), zeros);
            }
        }
        Ok(Self { options, original: model.clone(), forward, passes, gradient: None, roles, front, back, done: 0 })
    }

    /// What is trained.
    pub fn parameters(&self) -> &[Parameter] {
        &self.forward.parameters
    }

    /// Inputs a batch must bring, with their types and shapes.
    pub fn data(&self) -> &[(String, Fact)] {
        &self.passes.gradient().step.data
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> u64 {
        self.done
    }

    /// Counts a step that changes nothing: schedules and random numbers go on.
    pub fn skip_step(&mut self) {
        self.done += 1;
    }

    /// What did not run in a kernel of its own so far.
    pub fn notes(&self) -> Vec<String> {
        match &self.passes {
            Passes::One(runner) => runner.notes(),
            Passes::Twice(twice) => twice.runners().flat_map(Runner::notes).collect(),
        }
    }

    /// One step on a batch: tensors by name, as [`data`](Self::data) lists them.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] with the first value that is not; the parameters are then those before the step.
    /// [`TrainError::MissingInput`], and what the engine refuses.
    pub fn step(&mut self, batch: &[(&str, &Tensor)]) -> Result<Progress, TrainError> {
        let mut given = owned(batch);
        if let Some((name, _)) = self.data().iter().find(|(name, _)| !given.contains_key(name)) {
            return Err(TrainError::MissingInput { name: name.clone() });
        }
        self.add_random(&mut given)?;
        let learning_rate = self.add_scalars(&mut given)?;
        let mut report = Report::default();
        match &mut self.passes {
            Passes::One(runner) => {
                let mut outputs = carried_outputs(&runner.step, &mut self.back, |_| true);
                outputs.extend(report.outputs(&runner.step));
                runner.run(&[&given, &self.front], &mut outputs)?;
            }
            Passes::Twice(twice) => twice.step(Pass {
                detour: self.options.detour.as_deref_mut().map(|detour| detour as &mut dyn Detour),
                step: self.done,
                given: &given,
                front: &self.front,
                back: &mut self.back,
                report: &mut report,
            })?,
        }
        let loss = report.number("loss").unwrap_or(f64::NAN);
        if !loss.is_finite() {
            let culprit = self.culprit(&given)?;
            return Err(TrainError::NotFinite { step: self.done + 1, loss, culprit });
        }
        for (name, new) in &mut self.back {
            if let Some(old) = self.front.get_mut(name) {
                std::mem::swap(old, new);
            }
        }
        self.done += 1;
        Ok(report.progress(self.done, learning_rate))
    }

    /// How long each part of a step takes; of the gradient alone, if it is taken twice. Nothing changes.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn profile(&self, batch: &[(&str, &Tensor)]) -> Result<Vec<StepTime>, TrainError> {
        let mut given = owned(batch);
        self.add_random(&mut given)?;
        self.add_scalars(&mut given)?;
        self.passes.gradient().profile(&[&given, &self.front])
    }

    /// Memory that steps hold beside what they carry: packed weights and arenas, in bytes.
    pub fn peak_bytes(&self) -> usize {
        match &self.passes {
            Passes::One(runner) => runner.peak_bytes(),
            Passes::Twice(twice) => twice.runners().map(Runner::peak_bytes).sum(),
        }
    }

    /// Judges the network as it is now by the training's objective; later steps do not reach the evaluator.
    ///
    /// # Errors
    /// As [`Evaluator::new`].
    pub fn evaluator(&self) -> Result<Evaluator, TrainError> {
        let options = SessionOptions { threads: self.options.threads, ..SessionOptions::default() };
        Evaluator::new(&self.model(), &self.options.objective, &options)
    }
}
