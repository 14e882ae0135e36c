//! `lissom bench`: how long a run takes, several models in turn.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lissom_engine::{Choosing, Input, Session, SessionOptions, StepTime};
use lissom_evaluate::Latency;
use lissom_graph::Model;
use lissom_kernels::{Threads, peak};
use lissom_onnx::ReadOptions;
use lissom_tensor::{DType, Storage, Tensor};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::machine::{Machine, machine, peak_memory_bytes, reset_peak_memory};
use crate::{JobError, SCHEMA_VERSION, model_file};

/// What `bench` is asked.
#[derive(Debug, Clone)]
pub struct BenchRequest {
    /// The models, timed in turn.
    pub models: Vec<PathBuf>,
    /// Length of symbolic first axes.
    pub batch: usize,
    /// Length of other symbolic axes.
    pub other_axes: usize,
    /// Threads; 0 means one per core.
    pub threads: usize,
    /// Seconds to spend on each model.
    pub seconds: f64,
    /// Also time every step of each model.
    pub layers: bool,
    /// How kernels are chosen.
    pub choosing: Choosing,
    /// Products in f32 may round their operands to bf16.
    pub bf16: bool,
    /// Seed of the inputs.
    pub seed: u64,
    /// How far the files are trusted.
    pub read: ReadOptions,
}

/// What `bench` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchResult {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The machine.
    pub machine: Machine,
    /// Batch size.
    pub batch: usize,
    /// Threads used.
    pub threads: usize,
    /// What this machine can do at best on so many threads, if steps were timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// One entry a model, in the order asked.
    pub models: Vec<ModelTimes>,
}

/// Limits of the machine, measured while nothing else ran.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Multiply-adds of f32 in registers, 10⁹ operations a second, two each.
    pub f32_gflops: f64,
    /// The same of 8-bit integers.
    pub int8_gops: f64,
    /// Reading from beyond L2, 10⁹ bytes a second.
    pub read_gb_per_s: f64,
}

impl Peak {
    fn measure(n_threads: usize) -> Self {
        let peak::Peak { f32_gflops, int8_gops, read_gb_per_s } = peak::measure(&Threads::new(n_threads));
        Self { f32_gflops, int8_gops, read_gb_per_s }
    }

    /// The least time of a step: its multiply-adds with weights that are not zero, or its bytes, whichever takes longer.
    fn bound_ms(&self, step: &StepTime) -> f64 {
        let rate = if step.info.is_integer { self.int8_gops } else { self.f32_gflops };
        let compute_ms = 2.0 * step.info.nonzero_macs as f64 / (rate * 1e6);
        compute_ms.max(step.info.bytes as f64 / (self.read_gb_per_s * 1e6))
    }
}

/// Times of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelTimes {
    /// The file.
    pub model: String,
    /// Examples in a run: what was asked for, or what the model insists on.
    pub batch: usize,
    /// Times of one run.
    #[serde(flatten)]
    pub latency: Latency,
    /// Examples a second at the median.
    pub items_per_second: f64,
    /// Time to read and prepare the model, first run included.
    pub load_ms: f64,
    /// Largest resident memory of the process while it loaded and first ran this model.
    pub peak_memory_bytes: Option<u64>,
    /// Median of the first model over this one's: above 1 is faster.
    pub speedup: f64,
    /// Time of every step, if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerTime>,
    /// What runs without a kernel of its own, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Times models in turn, so that a drifting clock hits all alike.
///
/// # Errors
/// [`JobError`] if a model cannot be read or run.
pub fn bench(request: &BenchRequest) -> Result<BenchResult, JobError> {
    let mut timed = Vec::new();
    for path in &request.models {
        timed.push(prepare(path, request)?);
    }
    let sessions: Vec<(&Session, &[(String, Tensor)])> =
        timed.iter().map(|timed| (&timed.session, timed.inputs.as_slice())).collect();
    let latencies = interleaved(&sessions, Duration::from_secs_f64(request.seconds))?;
    let machine = machine();
    let threads = if request.threads == 0 { machine.cores } else { request.threads };
    let peak = request.layers.then(|| Peak::measure(threads));
    let first = latencies.first().map_or(f64::NAN, |latency| latency.p50_ms);
    let mut models = Vec::new();
    for (timed, latency) in timed.iter().zip(latencies) {
        let layers = match &peak {
            Some(peak) => layer_times(&timed.session, &timed.inputs, Some(peak))?,
            None => Vec::new(),
        };
        models.push(ModelTimes {
            model: timed.path.display().to_string(),
            items_per_second: timed.batch as f64 * 1e3 / latency.p50_ms,
            batch: timed.batch,
            load_ms: timed.load_ms,
            peak_memory_bytes: timed.peak_memory_bytes,
            speedup: first / latency.p50_ms,
            latency,
            layers,
            notes: timed.session.notes(),
        });
    }
    Ok(BenchResult { schema_version: SCHEMA_VERSION, machine, batch: request.batch, threads, peak, models })
}

struct Timed {
    path: PathBuf,
    session: Session,
    inputs: Vec<(String, Tensor)>,
    load_ms: f64,
    peak_memory_bytes: Option<u64>,
    batch: usize,
}

fn prepare(path: &Path, request: &BenchRequest) -> Result<Timed, JobError> {
    let counts = reset_peak_memory();
    let start = Instant::now();
    let file = model_file::load(path, &request.read)?;
    let choosing = request.choosing.clone();
    let (threads, bf16) = (request.threads, request.bf16);
    let options = SessionOptions { threads, choosing, bf16, ..SessionOptions::default() };
    let limit = smallest_table(&file.model);
    let session = Session::from_model(file.model, &options)?;
    let inputs = random_inputs(limit, session.inputs(), request.batch, request.other_axes, request.seed)?;
    run_once(&session, &inputs)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let peak_memory_bytes = peak_memory_bytes().filter(|_| counts);
    let batch = inputs.first().and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(1);
    Ok(Timed { path: path.to_owned(), session, inputs, load_ms, peak_memory_bytes, batch })
}

fn run_once(session: &Session, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, JobError> {
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    Ok(session.run(&inputs)?)
}

/// Times sessions in turn, in short rounds, `each` long for every one of them.
///
/// # Errors
/// If a run fails.
pub fn interleaved(sessions: &[(&Session, &[(String, Tensor)])], each: Duration) -> Result<Vec<Latency>, JobError> {
    /// Rounds each model's time is split into.
    const ROUNDS: u32 = 10;
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); sessions.len()];
    for (session, inputs) in sessions {
        // Warm-up: a tenth of the time, at least once.
        let start = Instant::now();
        while {
            run_once(session, inputs)?;
            start.elapsed() < each / 10
        } {}
    }
    for _ in 0..ROUNDS {
        for ((session, inputs), times) in sessions.iter().zip(&mut times) {
            let round = Instant::now();
            while {
                let start = Instant::now();
                run_once(session, inputs)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
                round.elapsed() < each / ROUNDS
            } {}
        }
    }
    times.iter().map(|times| Ok(Latency::from_ms(times)?)).collect()
}

/// Time of one step of a network, and what runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerTime {
    /// Name of the node; of the first one, if several were fused.
    pub name: String,
    /// Operators in the step, joined by `+`.
    pub operators: String,
    /// The kernel that runs it.
    pub kernel: String,
    /// Why this kernel, where there was a choice.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub why: String,
    /// Median time.
    pub ms: f64,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// Those with a weight that is not zero.
    pub nonzero_macs: u64,
    /// The least time that this machine allows over `ms`, 0..1: non-zero multiply-accumulates at peak, or operands,
    /// packed weights and result at the speed of reading, whichever takes longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_of_bound: Option<f64>,
}

/// Median time of each step, in the order they run; with what the machine could do, also how close each comes to it.
///
/// # Errors
/// If a run fails.
pub fn layer_times(
    session: &Session,
    inputs: &[(String, Tensor)],
    peak: Option<&Peak>,
) -> Result<Vec<LayerTime>, JobError> {
    const ROUNDS: usize = 9;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rounds.push(session.profile(&inputs)?);
    }
    let median = |step: usize| {
        let mut times: Vec<f64> =
            rounds.iter().filter_map(|steps| Some(steps.get(step)?.time.as_secs_f64() * 1e3)).collect();
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let steps = rounds.first().map(Vec::as_slice).unwrap_or_default();
    let layer = |(index, step): (usize, &lissom_engine::StepTime)| LayerTime {
        name: step.info.name.clone(),
        operators: step.info.op.clone(),
        kernel: step.info.kernel.to_owned(),
        why: step.info.why.to_string(),
        ms: median(index),
        macs: step.info.macs,
        nonzero_macs: step.info.nonzero_macs,
        share_of_bound: peak.map(|peak| (peak.bound_ms(step) / median(index)).min(1.0)),
    };
    Ok(steps.iter().enumerate().map(layer).collect())
}

/// Inputs of the right types and shapes: normal-ish floats, integers below `limit`, masks of ones.
///
/// # Errors
/// [`JobError::Unfit`] if an input's type or rank is not declared, or is of a type that cannot be made up.
pub fn random_inputs(
    limit: i64,
    inputs: &[Input],
    batch: usize,
    other_axes: usize,
    seed: u64,
) -> Result<Vec<(String, Tensor)>, JobError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    inputs
        .iter()
        .map(|input| {
            let unfit = |what: &str| JobError::Unfit {
                reason: format!("cannot make up values for input `{}`: {what}", input.name),
                hint: "give data with `--data`, or run it with `lissom run`".to_owned(),
            };
            let shape = input.shape.as_ref().ok_or_else(|| unfit("its rank is not declared"))?;
            let shape: Vec<usize> = shape
                .iter()
                .enumerate()
                .map(|(axis, length)| length.unwrap_or(if axis == 0 { batch } else { other_axes }))
                .collect();
            let dtype = input.dtype.ok_or_else(|| unfit("its type is not declared"))?;
            let len = lissom_tensor::checked_len(dtype, &shape)?;
            let storage = random_storage(&mut rng, dtype, len, input.name.contains("mask"), limit)
                .ok_or_else(|| unfit(&format!("its type is {dtype}")))?;
            Ok((input.name.clone(), Tensor::from_storage(shape, storage)?))
        })
        .collect()
}

/// Integers that are made up must be below this: they may be positions in a table.
pub(crate) fn smallest_table(model: &Model) -> i64 {
    let tables = model.graph.constants().filter(|(_, weight)| weight.shape().len() == 2 && weight.dtype().is_float());
    tables.map(|(_, weight)| weight.shape()[0] as i64).filter(|&rows| rows > 1).min().unwrap_or(2).clamp(2, 1000)
}

fn random_storage(rng: &mut impl Rng, dtype: DType, len: usize, is_mask: bool, limit: i64) -> Option<Storage> {
    // The sum of four uniform numbers is close enough to a normal one, and cheap.
    let mut normal = || ((0..4).map(|_| rng.random::<f32>()).sum::<f32>() - 2.0) * 1.7;
    Some(match dtype {
        DType::F32 => Storage::F32((0..len).map(|_| normal()).collect()),
        DType::F64 => Storage::F64((0..len).map(|_| normal().into()).collect()),
        DType::F16 => Storage::F16((0..len).map(|_| lissom_tensor::f16::from_f32(normal())).collect()),
        DType::BF16 => Storage::BF16((0..len).map(|_| lissom_tensor::bf16::from_f32(normal())).collect()),
        DType::Bool => Storage::Bool(vec![true; len]),
        DType::I64 if is_mask => Storage::I64(vec![1; len]),
        DType::I32 if is_mask => Storage::I32(vec![1; len]),
        DType::I64 => Storage::I64((0..len).map(|_| rng.random_range(0..limit)).collect()),
        DType::I32 => Storage::I32((0..len).map(|_| rng.random_range(0..limit as i32)).collect()),
        DType::U8 => Storage::U8((0..len).map(|_| rng.random()).collect()),
        DType::I8 => Storage::I8((0..len).map(|_| rng.random()).collect()),
        _ => return None,
    })
}
