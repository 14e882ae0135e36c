//! Loading a network and running it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lissom_graph::{Fact, Graph, Model, Operators, ValueId, interpret};
use lissom_kernels::Threads;
use lissom_tensor::{DType, Tensor, View, ViewMut};

use crate::expand::expand;
use crate::fold::fold_constants;
use crate::plan::{Arena, Leaving, Originals, Plan, Planned, Slot, StepInfo, WeightCache, refused};
use crate::product::Choosing;
use crate::{EngineError, Input};

/// Plans a session keeps; the one that was used longest ago goes first.
const MAX_PLANS: usize = 16;

/// How a network is run.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Threads that work on one run; 0 means one per core.
    pub threads: usize,
    /// Threads to use instead: those of another session, or the program's own.
    pub pool: Option<Threads>,
    /// Values that are returned after the model's outputs, e.g. activations a method wants to see. They are exact: nothing
    /// is fused across them.
    pub observe: Vec<ValueId>,
    /// False runs every operator's plain evaluation, node by node: the oracle.
    pub fast: bool,
    /// How the form of each product is chosen: dense, sparse, which kernel.
    pub choosing: Choosing,
    /// Lets products in f32 round their operands to bf16 (8 bits of precision) where this CPU multiplies those faster; products
    /// with weights that are computed, as in training, round them on every CPU, and images between them may be kept in bf16.
    pub bf16: bool,
    /// A network that never mixes the items of a batch runs on a part of the batch at a time, if a step would else read and
    /// write more bytes of activations than this: a share of the last level of cache.
    pub part_bytes: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            pool: None,
            observe: Vec::new(),
            fast: true,
            choosing: Choosing::Estimated,
            bf16: false,
            part_bytes: 16 << 20,
        }
    }
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
    loaded: Arc<Loaded>,
    threads: Threads,
    plans: Mutex<Vec<(PlanKey, Arc<Planned>)>>,
    /// Arenas that no run uses at the moment.
    arenas: Mutex<Vec<Arena>>,
    notes: Mutex<Vec<String>>,
}

/// What sessions of one model share.
#[derive(Debug)]
struct Loaded {
    /// Without the constants that `weights` holds.
    graph: Graph,
    inputs: Vec<Input>,
    output_names: Vec<String>,
    is_fast: bool,
    part_bytes: usize,
    weights: WeightCache,
    /// Held while a plan is made, so that measurements do not disturb each other.
    compiling: Mutex<()>,
}

/// Type and shape of each input.
type PlanKey = Vec<(DType, Vec<usize>)>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Prepares a model, which the caller keeps.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] naming the first node whose operator is not known.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self, EngineError> {
        let graph = Self::supported(model)?.graph.clone();
        Ok(Self::prepare(graph, model.operators, options, false))
    }

    /// Prepares a model and takes it over: what the model says of a weight is let go once the weight is packed, so the
    /// session does not hold its weights twice.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_model(model: Model, options: &SessionOptions) -> Result<Self, EngineError> {
        Self::supported(&model)?;
        Ok(Self::prepare(model.graph, model.operators, options, true))
    }

    fn supported(model: &Model) -> Result<&Model, EngineError> {
        match model.unsupported_nodes().into_iter().next() {
            Some((node, _, reason)) => Err(EngineError::Unsupported { node, reason }),
            None => Ok(model),
        }
    }

    fn prepare(mut graph: Graph, operators: Operators, options: &SessionOptions, is_own: bool) -> Self {
        let outputs: Vec<ValueId> = graph.outputs().iter().chain(&options.observe).copied().collect();
        let output_names = outputs.iter().map(|&id| graph.value(id).name.clone()).collect();
        graph.set_outputs(outputs);
        let inputs = graph.inputs().iter().map(|&id| Input::new(&graph, id)).collect();
        if options.fast {
            graph.drop_dead();
            fold_constants(&mut graph);
            expand(&mut graph, &operators);
        }
        let originals = if options.fast && is_own { Originals::of(&mut graph) } else { Originals::default() };
        let threads = match (options.fast, &options.pool, options.threads) {
            (false, ..) => Threads::single(),
            (true, Some(pool), _) => pool.clone(),
            (true, None, 0) => Threads::new(std::thread::available_parallelism().map_or(1, usize::from)),
            (true, None, n) => Threads::new(n),
        };
        let weights = WeightCache::new(originals, &options.choosing, options.bf16);
        let (is_fast, part_bytes) = (options.fast, options.part_bytes);
        let compiling = Mutex::default();
        let loaded = Loaded { graph, inputs, output_names, is_fast, part_bytes, weights, compiling };
        Self::of(Arc::new(loaded), threads)
    }

    fn of(loaded: Arc<Loaded>, threads: Threads) -> Self {
        Self { loaded, threads, plans: Mutex::default(), arenas: Mutex::default(), notes: Mutex::default() }
    }

    /// Another session of the same model, on these threads. Both use the same graph, packed weights and measurements;
    /// each has its own plans and arenas.
    pub fn share(&self, threads: Threads) -> Self {
        Self::of(Arc::clone(&self.loaded), if self.loaded.is_fast { threads } else { Threads::single() })
    }

    /// The model's inputs, in order.
    pub fn inputs(&self) -> &[Input] {
        &self.loaded.inputs
    }

    /// Names of the model's outputs and the observed values, in order.
    pub fn output_names(&self) -> &[String] {
        &self.loaded.output_names
    }

    /// Runs the network once. `inputs` are by name, in any order; outputs come in the order of
    /// [`output_names`](Self::output_names).
    ///
    /// # Errors
    /// [`EngineError`] if an input is missing, unknown or does not fit, or if a node refuses.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        self.run_watched(inputs, |_, _| {})
    }

    /// Runs the network once on borrowed memory: kernels read the inputs where they are, and the last ones write f32
    /// outputs where they are wanted. Outputs are by name, in any order; those that are not named are not given, and
    /// steps that only they need at the end are left out. After an error the slices hold anything.
    ///
    /// Inputs of a node without a kernel are copied; [`notes`](Self::notes) names such nodes. Other outputs are copied
    /// once: bytes, outputs that another node reads too, and those that are inputs.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`EngineError::UnknownOutput`], [`EngineError::RepeatedOutput`], and
    /// [`EngineError::OutputMismatch`] if a slice is of another type or length than the output.
    pub fn run_into(
        &self,
        inputs: &[(&str, View<'_>)],
        outputs: &mut [(&str, ViewMut<'_>)],
    ) -> Result<(), EngineError> {
        let slots = self.ordered(inputs, |view| Slot::View(*view))?;
        let wanted = self.wanted(outputs)?;
        let given_back = self.execute(slots, |leaving| chosen_results(leaving, &wanted, outputs), |_, _| {})?;
        for (tensor, position) in given_back.iter().zip(&wanted) {
            if let (Some(tensor), Some(position)) = (tensor, *position) {
                let (name, slice) = &mut outputs[position];
                let (dtype, len) = (slice.dtype(), slice.len());
                slice.copy_from(tensor).map_err(|_| mismatch(name, tensor.dtype(), tensor.shape(), dtype, len))?;
            }
        }
        Ok(())
    }

    /// Runs the network once and tells how long each step took, and all it did, if the batch ran in parts.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<StepTime>, EngineError> {
        let mut times = Vec::new();
        let mut last = Instant::now();
        self.run_watched(inputs, |plan, index| {
            let now = Instant::now();
            add_time(&mut times, index, &plan.steps[index].info, now - last);
            last = now;
        })?;
        Ok(times)
    }

    /// What did not run in a kernel of its own so far, and why; each once, sorted.
    pub fn notes(&self) -> Vec<String> {
        locked(&self.notes).clone()
    }

    /// Bytes of the packed weights; all sessions that share the model use the same ones.
    pub fn packed_bytes(&self) -> usize {
        self.loaded.weights.size_bytes()
    }

    /// Memory the session holds beyond the model itself: packed weights and arenas, in bytes.
    pub fn peak_bytes(&self) -> usize {
        self.packed_bytes() + locked(&self.arenas).iter().map(Arena::size_bytes).sum::<usize>()
    }

    fn run_watched(
        &self,
        inputs: &[(&str, &Tensor)],
        watch: impl FnMut(&Plan, usize),
    ) -> Result<Vec<Tensor>, EngineError> {
        let slots = self.ordered(inputs, |tensor| Slot::Tensor((*tensor).clone()))?;
        let mut made: Vec<Option<Tensor>> = Vec::new();
        let given_back = self.execute(slots, |leaving| new_results(leaving, &mut made), watch)?;
        made.resize(given_back.len(), None);
        Ok(given_back.into_iter().zip(made).filter_map(|(given_back, made)| given_back.or(made)).collect())
    }

    /// Runs the network into the slices that `results` chooses for the outputs that leave a plan; gives back the others.
    fn execute<'r>(
        &self,
        slots: Vec<Slot<'_>>,
        results: impl FnOnce(&[Leaving]) -> Result<Vec<Option<ViewMut<'r>>>, EngineError>,
        watch: impl FnMut(&Plan, usize),
    ) -> Result<Vec<Option<Tensor>>, EngineError> {
        let plainly = |slots: &[Slot<'_>]| -> Result<Vec<Option<Tensor>>, EngineError> {
            let tensors: Vec<Tensor> = slots.iter().filter_map(Slot::to_tensor).collect();
            let Loaded { graph, weights, .. } = &*self.loaded;
            Ok(interpret(&weights.originals.put_back(graph), &tensors)?.into_iter().map(Some).collect())
        };
        // The oracle runs what could not be planned: it answers, or says what is wrong with the network or its input.
        let instead = |slots: &[Slot<'_>], cause: &EngineError| {
            self.note(format!("the network runs its plain evaluation: {cause}"));
            plainly(slots)
        };
        if !self.loaded.is_fast {
            return plainly(&slots);
        }
        let plan = match self.plan(&slots) {
            Ok(plan) => plan,
            Err(error) => return instead(&slots, &error),
        };
        let mut results = results(&plan.outputs())?;
        let mut arena = locked(&self.arenas).pop().unwrap_or_default();
        let outcome = plan.run(slots.clone(), &mut results, &mut arena, &self.threads, watch);
        locked(&self.arenas).push(arena);
        match outcome {
            Err(error @ EngineError::Kernel { .. }) => instead(&slots, &error),
            outcome => outcome,
        }
    }

    fn note(&self, note: String) {
        let mut notes = locked(&self.notes);
        if let Err(at) = notes.binary_search(&note) {
            notes.insert(at, note);
        }
    }

    /// The plan for inputs of these types and shapes.
    fn plan(&self, inputs: &[Slot<'_>]) -> Result<Arc<Planned>, EngineError> {
        if let Some(plan) = self.known_plan(inputs) {
            return Ok(plan);
        }
        // A caller's pool may let this thread do another of its jobs while a form is measured; that one must not wait here.
        let _alone = (!self.threads.are_callers()).then(|| locked(&self.loaded.compiling));
        if let Some(plan) = self.known_plan(inputs) {
            return Ok(plan);
        }
        let facts: Vec<(DType, &[usize])> = inputs.iter().filter_map(Slot::fact).collect();
        let key: PlanKey = facts.iter().map(|(dtype, shape)| (*dtype, shape.to_vec())).collect();
        let facts: Vec<Fact> = facts.iter().map(|(dtype, shape)| Fact::known(*dtype, shape)).collect();
        let Loaded { graph, weights, part_bytes, .. } = &*self.loaded;
        let plan = Arc::new(Planned::compile(graph, weights, &facts, *part_bytes, &self.threads)?);
        weights.chooser.save();
        plan.notes().for_each(|note| self.note(note.clone()));
        let mut plans = locked(&self.plans);
        if plans.len() >= MAX_PLANS {
            plans.remove(0);
        }
        plans.push((key, Arc::clone(&plan)));
        Ok(plan)
    }

    fn known_plan(&self, inputs: &[Slot<'_>]) -> Option<Arc<Planned>> {
        let mut plans = locked(&self.plans);
        let is_same = |key: &PlanKey| {
            let own = key.iter().map(|(dtype, shape)| (*dtype, shape.as_slice()));
            own.eq(inputs.iter().filter_map(Slot::fact))
        };
        let at = plans.iter().position(|(key, _)| is_same(key))?;
        let found = plans.remove(at);
        let plan = Arc::clone(&found.1);
        plans.push(found);
        Some(plan)
    }

    /// The inputs in the model's order.
    fn ordered<'a, T>(
        &self,
        inputs: &[(&str, T)],
        slot: impl Fn(&T) -> Slot<'a>,
    ) -> Result<Vec<Slot<'a>>, EngineError> {
        let own = self.inputs();
        let expected = || own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if let Some((name, _)) = inputs.iter().find(|(name, _)| own.iter().all(|input| input.name != *name)) {
            return Err(EngineError::UnknownInput { name: (*name).to_owned(), expected: expected() });
        }
        let mut ordered = Vec::with_capacity(own.len());
        for input in own {
            let given = inputs.iter().find(|(name, _)| *name == input.name).map(|(_, given)| slot(given));
            let given =
                given.ok_or_else(|| EngineError::MissingInput { name: input.name.clone(), expected: expected() })?;
            if let Some((dtype, shape)) = given.fact() {
                input.check(dtype, shape)?;
            }
            ordered.push(given);
        }
        Ok(ordered)
    }

    /// The position among `outputs` of each of the model's.
    fn wanted(&self, outputs: &[(&str, ViewMut<'_>)]) -> Result<Vec<Option<usize>>, EngineError> {
        let names = self.output_names();
        let mut wanted = vec![None; names.len()];
        for (position, (name, _)) in outputs.iter().enumerate() {
            let Some(output) = names.iter().position(|own| own == name) else {
                let expected = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                return Err(EngineError::UnknownOutput { name: (*name).to_owned(), expected });
            };
            if wanted[output].replace(position).is_some() {
                return Err(EngineError::RepeatedOutput { name: (*name).to_owned() });
            }
        }
        Ok(wanted)
    }
}

/// A step took so long; if it ran for another part of the batch before, longer.
fn add_time(times: &mut Vec<StepTime>, index: usize, info: &StepInfo, time: Duration) {
    match times.get_mut(index) {
        Some(before) => {
            before.time += time;
            before.info.macs += info.macs;
            before.info.nonzero_macs += info.nonzero_macs;
            before.info.bytes += info.bytes;
        }
        None => times.push(StepTime { info: info.clone(), time }),
    }
}

/// The caller's slices for the outputs that leave, if they fit.
fn chosen_results<'r>(
    leaving: &[Leaving],
    wanted: &[Option<usize>],
    outputs: &'r mut [(&str, ViewMut<'_>)],
) -> Result<Vec<Option<ViewMut<'r>>>, EngineError> {
    let mut results: Vec<Option<ViewMut<'r>>> = wanted.iter().map(|_| None).collect();
    for (position, (name, slice)) in outputs.iter_mut().enumerate() {
        let Some(index) = wanted.iter().position(|wanted| *wanted == Some(position)) else { continue };
        let Some((elem, shape)) = &leaving[index] else { continue };
        if slice.dtype() != elem.dtype() || slice.len() != shape.iter().product::<usize>() {
            return Err(mismatch(name, elem.dtype(), shape, slice.dtype(), slice.len()));
        }
        results[index] = Some(slice.reborrow());
    }
    Ok(results)
}

/// New memory for the outputs that leave.
fn new_results<'r>(
    leaving: &[Leaving],
    made: &'r mut Vec<Option<Tensor>>,
) -> Result<Vec<Option<ViewMut<'r>>>, EngineError> {
    for leaves in leaving {
        let zeros = leaves.as_ref().map(|(elem, shape)| Tensor::zeros(elem.dtype(), shape.clone()));
        made.push(zeros.transpose().map_err(|source| refused(source.into()))?);
    }
    Ok(made.iter_mut().map(|tensor| tensor.as_mut().and_then(ViewMut::of)).collect())
}

fn mismatch(name: &str, dtype: DType, shape: &[usize], actual: DType, len: usize) -> EngineError {
    let expected = Fact::known(dtype, shape).to_string();
    EngineError::OutputMismatch { name: name.to_owned(), expected, actual: format!("{len} of {actual}") }
}
