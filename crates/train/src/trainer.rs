//! Running steps: what one gives is fed to the next, from two sets of buffers in turn.

use std::collections::BTreeMap;
use std::path::Path;

use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Fact, Model, ValueId, infer_with_inputs};
use lissom_tensor::{DType, Tensor, View, ViewMut, Weight};

use crate::random::Stream;
use crate::report::{Progress, Report};
use crate::{
    Carried, Checkpoint, Culprit, Forward, ForwardOptions, Objective, Optimizer, Parameter, Role, Schedule, Step,
    StepOptions, TrainError,
};

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
    /// Threads; 0 means one per core. The bytes are the same with any number.
    pub threads: usize,
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
            threads: 0,
        }
    }
}

/// A network in training.
#[derive(Debug)]
pub struct Trainer {
    options: TrainerOptions,
    original: Model,
    forward: Forward,
    passes: Passes,
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
    One(Runner),
    /// Gradients are taken twice: at the weights, and at moved ones.
    Two { gradient: Runner, moved: Runner, update: Runner },
}

#[derive(Debug)]
struct Runner {
    step: Step,
    session: Session,
}

/// Tensors by name.
type Named = BTreeMap<String, Tensor>;

impl Runner {
    fn new(step: Step, options: &SessionOptions) -> Result<Self, TrainError> {
        let session = Session::new(&step.model, options)?;
        Ok(Self { step, session })
    }

    /// Runs the step: inputs by name, given in several lists; outputs are written to the tensors given with their names.
    fn run(&self, inputs: &[&Named], outputs: &mut [(&str, &mut Tensor)]) -> Result<(), TrainError> {
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
}

fn not_trainable(dtype: DType) -> TrainError {
    lissom_tensor::TensorError::TypeMismatch { expected: DType::F32, actual: dtype }.into()
}

/// The outputs of a step that are carried, with the buffers they go to.
fn carried_outputs<'a>(
    step: &'a Step,
    back: &'a mut Named,
    wanted: impl Fn(&Carried) -> bool,
) -> Vec<(&'a str, &'a mut Tensor)> {
    let mut buffers: BTreeMap<&str, &mut Tensor> =
        back.iter_mut().map(|(name, tensor)| (name.as_str(), tensor)).collect();
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
        let forward = Forward::new(model, &options.objective, select, &options.forward)?;
        if forward.dtype != DType::F32 {
            return Err(not_trainable(forward.dtype));
        }
        let mut step = options.step.clone();
        (step.noise, step.average) = (options.noise.is_some(), options.average.is_some());
        let optimizer = &*options.optimizer;
        let session = SessionOptions { threads: options.threads, ..SessionOptions::default() };
        let passes = match optimizer.perturbation() {
            None => Passes::One(Runner::new(Step::training(&forward, optimizer, &step)?, &session)?),
            Some(perturbation) => Passes::Two {
                gradient: Runner::new(Step::gradient(&forward, &step)?, &session)?,
                moved: Runner::new(Step::perturbation(&forward, perturbation)?, &session)?,
                update: Runner::new(Step::update(&forward, optimizer, &step)?, &session)?,
            },
        };
        let steps: Vec<&Step> = match &passes {
            Passes::One(runner) => vec![&runner.step],
            Passes::Two { gradient, update, .. } => vec![&update.step, &gradient.step],
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
        Ok(Self { options, original: model.clone(), forward, passes, roles, front, back, done: 0 })
    }

    /// What is trained.
    pub fn parameters(&self) -> &[Parameter] {
        &self.forward.parameters
    }

    /// Inputs a batch must bring, with their types and shapes.
    pub fn data(&self) -> &[(String, Fact)] {
        let (Passes::One(runner) | Passes::Two { gradient: runner, .. }) = &self.passes;
        &runner.step.data
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> u64 {
        self.done
    }

    /// What did not run in a kernel of its own so far.
    pub fn notes(&self) -> Vec<String> {
        match &self.passes {
            Passes::One(runner) => runner.session.notes(),
            Passes::Two { gradient, moved, update } => {
                let sessions = [gradient, moved, update];
                sessions.iter().flat_map(|runner| runner.session.notes()).collect()
            }
        }
    }

    /// One step on a batch: tensors by name, as [`data`](Self::data) lists them.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] with the first value that is not; the parameters are then those before the step.
    /// [`TrainError::MissingInput`], and what the engine refuses.
    pub fn step(&mut self, batch: &[(&str, &Tensor)]) -> Result<Progress, TrainError> {
        let mut given: Named = batch.iter().map(|(name, tensor)| ((*name).to_owned(), (*tensor).clone())).collect();
        if let Some((name, _)) = self.data().iter().find(|(name, _)| !given.contains_key(name)) {
            return Err(TrainError::MissingInput { name: name.clone() });
        }
        self.add_random(&mut given)?;
        let learning_rate = self.add_scalars(&mut given)?;
        let mut report = Report::default();
        match &self.passes {
            Passes::One(runner) => {
                let mut outputs = carried_outputs(&runner.step, &mut self.back, |_| true);
                outputs.extend(report.outputs(&runner.step));
                runner.run(&[&given, &self.front], &mut outputs)?;
            }
            Passes::Two { gradient, moved, update } => {
                let mut gradients = self.gradient_buffers(&update.step)?;
                let mut outputs =
                    carried_outputs(&gradient.step, &mut self.back, |carried| carried.role == Role::Statistic);
                outputs.extend(report.outputs(&gradient.step));
                outputs.extend(tensor_outputs(&gradient.step, &update.step, &mut gradients));
                gradient.run(&[&given, &self.front], &mut outputs)?;
                let mut weights: Named = Named::new();
                for (name, _) in &moved.step.outputs.tensors {
                    let like = self.front.get(name).ok_or_else(|| TrainError::MissingInput { name: name.clone() })?;
                    weights.insert(name.clone(), Tensor::zeros(like.dtype(), like.shape())?);
                }
                let names: BTreeMap<&str, &str> =
                    moved.step.outputs.tensors.iter().map(|(name, output)| (name.as_str(), output.as_str())).collect();
                let mut outputs: Vec<(&str, &mut Tensor)> = weights
                    .iter_mut()
                    .filter_map(|(name, tensor)| Some((*names.get(name.as_str())?, tensor)))
                    .collect();
                moved.run(&[&gradients, &self.front], &mut outputs)?;
                let mut outputs = tensor_outputs(&gradient.step, &update.step, &mut gradients);
                gradient.run(&[&given, &weights, &self.front], &mut outputs)?;
                let mut outputs = carried_outputs(&update.step, &mut self.back, |_| true);
                outputs.extend(report.norms(&update.step));
                update.run(&[&given, &gradients, &self.front], &mut outputs)?;
            }
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

    /// Zeros for the gradients, by the update's input names.
    fn gradient_buffers(&self, update: &Step) -> Result<Named, TrainError> {
        let mut buffers = Named::new();
        for ((_, input), parameter) in update.gradients.iter().zip(&self.forward.parameters) {
            buffers.insert(input.clone(), Tensor::zeros(parameter.dtype, parameter.shape.clone())?);
        }
        Ok(buffers)
    }

    /// Masks of dropout and noise of gradients, of this step.
    fn add_random(&self, given: &mut Named) -> Result<(), TrainError> {
        let (dropped, noise) = match &self.passes {
            Passes::One(runner) => (&runner.step.dropped, &runner.step.noise),
            Passes::Two { gradient, update, .. } => (&gradient.step.dropped, &update.step.noise),
        };
        let mut number = 0;
        let mut stream = || {
            number += 1;
            Stream::new(self.options.seed, self.done, number)
        };
        if !dropped.is_empty() {
            let shapes = self.shapes(given)?;
            for (name, dropped) in dropped {
                let (stream, kept) = (stream(), (1.0 / (1.0 - dropped.ratio)) as f32);
                let shape = shapes.get(&dropped.like).cloned().unwrap_or_default();
                let len: usize = shape.iter().product();
                let keep = |i: u64| if stream.uniform(i) < dropped.ratio { 0.0 } else { kept };
                given.insert(name.clone(), Tensor::new(shape, (0..len as u64).map(keep).collect::<Vec<f32>>())?);
            }
        }
        for (name, shape) in noise {
            let (stream, len) = (stream(), shape.iter().product::<usize>() as u64);
            let normal = (0..len).map(|i| stream.normal(i) as f32).collect::<Vec<f32>>();
            given.insert(name.clone(), Tensor::new(shape.clone(), normal)?);
        }
        Ok(())
    }

    /// Shapes of the values dropout works on, for a batch.
    fn shapes(&self, given: &Named) -> Result<BTreeMap<ValueId, Vec<usize>>, TrainError> {
        let graph = &self.original.graph;
        let facts: Vec<Fact> = graph
            .inputs()
            .iter()
            .map(|&id| match given.get(&graph.value(id).name) {
                Some(tensor) => Fact::known(tensor.dtype(), tensor.shape()),
                None => graph.value(id).fact.clone(),
            })
            .collect();
        let facts = infer_with_inputs(graph, &facts)?;
        let mut shapes = BTreeMap::new();
        for dropped in &self.forward.random {
            let name = || self.forward.name(dropped.like).to_owned();
            let fact = &facts[dropped.like.index()];
            let refused = || TrainError::BatchShape { name: name(), reason: format!("it is {fact} for this batch") };
            shapes.insert(dropped.like, fact.known_shape().ok_or_else(refused)?);
        }
        Ok(shapes)
    }

    /// The numbers of this step; gives back the learning rate.
    fn add_scalars(&self, given: &mut Named) -> Result<f64, TrainError> {
        let (Passes::One(runner) | Passes::Two { update: runner, .. }) = &self.passes;
        let step = self.done + 1;
        let options = &self.options;
        let rate = options.optimizer.learning_rate() * options.schedule.share(self.done, options.total_steps);
        let mut values = options.optimizer.values(step, rate);
        values.extend(options.noise.map(|eta| (eta / (step as f64).powf(0.55)).sqrt()));
        values.extend(options.average.map(|decay| decay.min((1 + step) as f64 / (10 + step) as f64)));
        for (name, value) in runner.step.scalars.iter().zip(values) {
            given.insert(name.clone(), Tensor::scalar(value as f32));
        }
        Ok(rate)
    }

    /// The first value of the forward part that is not finite.
    fn culprit(&self, given: &Named) -> Result<Culprit, TrainError> {
        let is_broken = |tensor: &Tensor| {
            tensor.dtype().is_float() && tensor.to_f64_vec().is_ok_and(|values| values.iter().any(|x| !x.is_finite()))
        };
        if let Some((name, _)) = given.iter().find(|(_, tensor)| is_broken(tensor)) {
            return Ok(Culprit::Input { name: name.clone() });
        }
        if let Some((name, _)) = self.front.iter().find(|(_, tensor)| is_broken(tensor)) {
            return Ok(Culprit::Parameter { name: name.clone() });
        }
        let forward = &self.forward;
        let made =
            forward.graph.nodes().iter().flat_map(|node| node.outputs.iter().flatten().map(move |id| (node, *id)));
        let made: Vec<_> = made.filter(|(_, id)| !forward.graph.outputs().contains(id)).collect();
        let model = Model::new(forward.graph.clone(), forward.operators, forward.opset);
        let observe = made.iter().map(|(_, id)| *id).collect();
        let session = Session::new(&model, &SessionOptions { observe, ..SessionOptions::default() })?;
        let mut inputs: Vec<(&str, &Tensor)> = Vec::new();
        for input in session.inputs() {
            let tensor = given.get(&input.name).or_else(|| self.front.get(&input.name));
            let tensor = tensor.ok_or_else(|| TrainError::MissingInput { name: input.name.clone() })?;
            inputs.push((&input.name, tensor));
        }
        let outputs = session.run(&inputs)?;
        let observed = &outputs[outputs.len() - made.len()..];
        let broken = made.iter().zip(observed).find(|(_, tensor)| is_broken(tensor));
        Ok(match broken {
            Some(((node, id), _)) => {
                Culprit::Node { node: node.name.clone(), op: node.op_type.clone(), value: forward.name(*id).to_owned() }
            }
            None => Culprit::Nothing,
        })
    }

    /// The network as it is now.
    pub fn model(&self) -> Model {
        self.model_of(|parameter| self.front.get(&parameter.name))
    }

    /// The network with the moving average of its parameters, if one is kept; running statistics are those of the last step.
    pub fn averaged_model(&self) -> Option<Model> {
        self.options.average?;
        let average = |wanted: &str| {
            let role = |role: &Role| matches!(role, Role::Average(name) if name == wanted);
            self.roles.iter().find(|(_, own)| role(own)).and_then(|(name, _)| self.front.get(name))
        };
        Some(self.model_of(|parameter| average(&parameter.name)))
    }

    fn model_of<'a>(&'a self, tensor: impl Fn(&Parameter) -> Option<&'a Tensor>) -> Model {
        let mut model = self.original.clone();
        for parameter in &self.forward.parameters {
            if let Some(tensor) = tensor(parameter) {
                model.graph.set_constant(parameter.value, Weight::Dense(tensor.clone()));
            }
        }
        for statistic in &self.forward.statistics {
            if let Some(tensor) = self.front.get(self.forward.name(statistic.value)) {
                model.graph.set_constant(statistic.value, Weight::Dense(tensor.clone()));
            }
        }
        model
    }

    /// Writes everything a later process needs to go on, whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`].
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let mut metadata = BTreeMap::new();
        metadata.insert("step".into(), self.done.to_string());
        metadata.insert("seed".into(), self.options.seed.to_string());
        metadata.insert("total_steps".into(), self.options.total_steps.to_string());
        Ok(Checkpoint { metadata, tensors: self.front.clone() }.save(path)?)
    }

    /// Goes on where a checkpoint was written: the steps that follow are those of a training that was never interrupted.
    ///
    /// # Errors
    /// [`TrainError::OtherTraining`] if it was written by a training of another network, seed, length or optimizer;
    /// nothing is changed then.
    pub fn load(&mut self, path: &Path) -> Result<(), TrainError> {
        let checkpoint = Checkpoint::load(path)?;
        let number = |key: &str| -> Result<u64, TrainError> {
            let text = checkpoint.metadata.get(key);
            let other = || TrainError::OtherTraining { reason: format!("it has no `{key}`") };
            text.and_then(|text| text.parse().ok()).ok_or_else(other)
        };
        for (key, own) in [("seed", self.options.seed), ("total_steps", self.options.total_steps)] {
            let there = number(key)?;
            if there != own {
                return Err(TrainError::OtherTraining { reason: format!("its {key} is {there}, not {own}") });
            }
        }
        let done = number("step")?;
        let kind = |tensor: &Tensor| (tensor.dtype(), tensor.shape().to_vec());
        let differs = |(name, own): &(&String, &Tensor)| checkpoint.tensors.get(*name).map(kind) != Some(kind(own));
        if let Some((name, _)) = self.front.iter().find(differs) {
            return Err(TrainError::OtherTraining { reason: format!("its `{name}` is missing or of another shape") });
        }
        if let Some(name) = checkpoint.tensors.keys().find(|name| !self.front.contains_key(*name)) {
            return Err(TrainError::OtherTraining { reason: format!("it holds `{name}`, which this one has not") });
        }
        (self.front, self.done) = (checkpoint.tensors, done);
        Ok(())
    }
}

/// The gradients a step gives, into the buffers of the update's inputs.
fn tensor_outputs<'a>(gradient: &'a Step, update: &Step, buffers: &'a mut Named) -> Vec<(&'a str, &'a mut Tensor)> {
    let mut buffers: BTreeMap<&str, &mut Tensor> =
        buffers.iter_mut().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let inputs: BTreeMap<&str, &str> =
        update.gradients.iter().map(|(name, input)| (name.as_str(), input.as_str())).collect();
    let mut buffer = |name: &str| buffers.remove(*inputs.get(name)?);
    gradient.outputs.tensors.iter().filter_map(|(name, output)| Some((output.as_str(), buffer(name)?))).collect()
}
