//! Loading a network and running it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lissom_graph::{EvaluateError, Fact, Graph, LoadError, Model, ValueId, interpret};
use lissom_kernels::{ShapeError, Threads};
use lissom_tensor::{DType, Tensor};

use crate::fold::fold_constants;
use crate::plan::{Arena, Plan, StepInfo, WeightCache, compile};
use crate::product::Choosing;

/// Plans a session keeps; the one that was used longest ago goes first.
const MAX_PLANS: usize = 16;

/// How a network is run.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Threads that work on one run; 0 means one per core.
    pub threads: usize,
    /// Values that are returned after the model's outputs, e.g. activations a method wants to see. They are exact: nothing
    /// is fused across them.
    pub observe: Vec<ValueId>,
    /// False runs every operator's plain evaluation, node by node: the oracle.
    pub fast: bool,
    /// How the form of each product is chosen: dense, sparse, which kernel.
    pub choosing: Choosing,
    /// Lets products in f32 round their operands to bf16 (8 bits of precision) where this CPU multiplies those faster.
    pub bf16: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { threads: 0, observe: Vec::new(), fast: true, choosing: Choosing::Estimated, bf16: false }
    }
}

/// Why a network could not be loaded or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum EngineError {
    #[error("node `{node}`: {reason} is not supported")]
    Unsupported { node: String, reason: String },
    #[error("input `{name}` is missing; the model's inputs are {expected}")]
    MissingInput { name: String, expected: String },
    #[error("the model has no input `{name}`; its inputs are {expected}")]
    UnknownInput { name: String, expected: String },
    #[error("input `{name}`: the model wants {expected}, found {actual}")]
    InputMismatch { name: String, expected: String, actual: String },
    #[error("node `{node}`: a kernel refused: {source}")]
    Kernel { node: String, source: ShapeError },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// What a model wants at one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Name in the graph.
    pub name: String,
    /// Element type, if the file declares it.
    pub dtype: Option<DType>,
    /// Length of each axis, `None` where any will do; `None` as a whole if the rank is not declared.
    pub shape: Option<Vec<Option<usize>>>,
}

/// How long a step of a plan took.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTime {
    /// What it is.
    pub info: StepInfo,
    /// How long it took.
    pub time: Duration,
}

/// A loaded network. Can be shared between threads; each call of [`run`](Self::run) is independent.
#[derive(Debug)]
pub struct Session {
    graph: Graph,
    inputs: Vec<Input>,
    output_names: Vec<String>,
    is_fast: bool,
    threads: Threads,
    weights: WeightCache,
    plans: Mutex<Vec<(PlanKey, Arc<Plan>)>>,
    /// Arenas that no run uses at the moment.
    arenas: Mutex<Vec<Arena>>,
    notes: Mutex<Vec<String>>,
}

/// Type and shape of each input.
type PlanKey = Vec<(DType, Vec<usize>)>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Prepares a model.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] naming the first node whose operator is not known.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self, EngineError> {
        if let Some((node, _, reason)) = model.unsupported_nodes().into_iter().next() {
            return Err(EngineError::Unsupported { node, reason });
        }
        let mut graph = model.graph.clone();
        let outputs: Vec<ValueId> = graph.outputs().iter().chain(&options.observe).copied().collect();
        let output_names = outputs.iter().map(|&id| graph.value(id).name.clone()).collect();
        graph.set_outputs(outputs);
        let inputs = graph.inputs().iter().map(|&id| input(&graph, id)).collect();
        if options.fast {
            graph.drop_dead();
            fold_constants(&mut graph);
        }
        let n_threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        Ok(Self {
            graph,
            inputs,
            output_names,
            is_fast: options.fast,
            threads: if options.fast { Threads::new(n_threads) } else { Threads::single() },
            weights: WeightCache::new(&options.choosing, options.bf16),
            plans: Mutex::default(),
            arenas: Mutex::default(),
            notes: Mutex::default(),
        })
    }

    /// The model's inputs, in order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Names of the model's outputs and the observed values, in order.
    pub fn output_names(&self) -> &[String] {
        &self.output_names
    }

    /// Runs the network once. `inputs` are by name, in any order; outputs come in the order of
    /// [`output_names`](Self::output_names).
    ///
    /// # Errors
    /// [`EngineError`] if an input is missing, unknown or does not fit, or if a node refuses.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        self.run_watched(inputs, |_, _| {})
    }

    /// Runs the network once and tells how long each step took.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<StepTime>, EngineError> {
        let mut times = Vec::new();
        let mut last = Instant::now();
        self.run_watched(inputs, |plan, index| {
            let now = Instant::now();
            if index == 0 {
                times.clear();
            }
            times.push(StepTime { info: plan.steps[index].info.clone(), time: now - last });
            last = now;
        })?;
        Ok(times)
    }

    /// What did not run in a kernel of its own so far, and why; each once, sorted.
    pub fn notes(&self) -> Vec<String> {
        locked(&self.notes).clone()
    }

    /// Memory the session holds beyond the model itself: packed weights and arenas, in bytes.
    pub fn peak_bytes(&self) -> usize {
        self.weights.size_bytes() + locked(&self.arenas).iter().map(Arena::size_bytes).sum::<usize>()
    }

    fn run_watched(
        &self,
        inputs: &[(&str, &Tensor)],
        mut watch: impl FnMut(&Plan, usize),
    ) -> Result<Vec<Tensor>, EngineError> {
        let ordered = self.ordered(inputs)?;
        if !self.is_fast {
            return Ok(interpret(&self.graph, &ordered)?);
        }
        let plan = match self.plan(&ordered) {
            Ok(plan) => plan,
            Err(error) => return self.run_plainly(&ordered, &error),
        };
        let mut arena = locked(&self.arenas).pop().unwrap_or_default();
        let outcome = plan.run(ordered.clone(), &mut arena, &self.threads, |index| watch(&plan, index));
        locked(&self.arenas).push(arena);
        match outcome {
            Err(error @ EngineError::Kernel { .. }) => self.run_plainly(&ordered, &error),
            outcome => outcome,
        }
    }

    /// The oracle runs what could not be planned: it answers, or says what is wrong with the network or its input.
    fn run_plainly(&self, inputs: &[Tensor], cause: &EngineError) -> Result<Vec<Tensor>, EngineError> {
        self.note(format!("the network runs its plain evaluation: {cause}"));
        Ok(interpret(&self.graph, inputs)?)
    }

    fn note(&self, note: String) {
        let mut notes = locked(&self.notes);
        if let Err(at) = notes.binary_search(&note) {
            notes.insert(at, note);
        }
    }

    /// The plan for inputs of these types and shapes.
    fn plan(&self, inputs: &[Tensor]) -> Result<Arc<Plan>, EngineError> {
        let key: PlanKey = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape().to_vec())).collect();
        let mut plans = locked(&self.plans);
        if let Some(at) = plans.iter().position(|(own, _)| *own == key) {
            let found = plans.remove(at);
            let plan = Arc::clone(&found.1);
            plans.push(found);
            return Ok(plan);
        }
        let facts: Vec<Fact> = inputs.iter().map(|tensor| Fact::known(tensor.dtype(), tensor.shape())).collect();
        let plan = Arc::new(compile(&self.graph, &self.weights, &facts, &self.threads)?);
        self.weights.chooser.save();
        plan.notes.iter().for_each(|note| self.note(note.clone()));
        if plans.len() >= MAX_PLANS {
            plans.remove(0);
        }
        plans.push((key, Arc::clone(&plan)));
        Ok(plan)
    }

    fn ordered(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        let expected = || self.inputs.iter().map(describe).collect::<Vec<_>>().join(", ");
        if let Some((name, _)) = inputs.iter().find(|(name, _)| self.inputs.iter().all(|input| input.name != *name)) {
            return Err(EngineError::UnknownInput { name: (*name).to_owned(), expected: expected() });
        }
        let mut ordered = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let tensor = inputs.iter().find(|(name, _)| *name == input.name).map(|(_, tensor)| *tensor);
            let tensor =
                tensor.ok_or_else(|| EngineError::MissingInput { name: input.name.clone(), expected: expected() })?;
            check(input, tensor)?;
            ordered.push(tensor.clone());
        }
        Ok(ordered)
    }
}

fn input(graph: &Graph, id: ValueId) -> Input {
    let value = graph.value(id);
    let shape = value.fact.shape.as_ref().map(|shape| shape.iter().map(lissom_graph::Dim::known).collect());
    Input { name: value.name.clone(), dtype: value.fact.dtype, shape }
}

fn check(input: &Input, tensor: &Tensor) -> Result<(), EngineError> {
    let fits_type = input.dtype.is_none_or(|dtype| dtype == tensor.dtype());
    let fits_shape = input.shape.as_ref().is_none_or(|shape| {
        shape.len() == tensor.rank()
            && shape.iter().zip(tensor.shape()).all(|(want, have)| want.is_none_or(|want| want == *have))
    });
    if fits_type && fits_shape {
        return Ok(());
    }
    let actual = Fact::known(tensor.dtype(), tensor.shape()).to_string();
    Err(EngineError::InputMismatch { name: input.name.clone(), expected: describe(input), actual })
}

fn describe(input: &Input) -> String {
    let shape = match &input.shape {
        None => "..".to_owned(),
        Some(shape) => shape
            .iter()
            .map(|length| length.map_or("?".to_owned(), |length| length.to_string()))
            .collect::<Vec<_>>()
            .join(","),
    };
    format!("`{}` {}[{shape}]", input.name, input.dtype.map_or("?".to_owned(), |dtype| dtype.to_string()))
}
