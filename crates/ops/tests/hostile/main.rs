//! Walks the list of operators with hostile cases: whatever attributes, inputs and facts a file brings, an operator
//! answers or refuses. It never panics (overflow counts here) and never allocates far beyond the limit.
//!
//! `LISSOM_HOSTILE_ROUNDS` and `LISSOM_HOSTILE_SEED` make the walk longer or another one.

mod mutate;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lissom_graph::{Attributes, Dim, Fact, Facts, Inputs, KnownValue, NodeReader, Op, OpSpec};
use lissom_ops::{OPERATORS, OPS};
use lissom_tensor::{DType, Tensor};
use peak_alloc::PeakAlloc;

use mutate::{Case, Random};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The limit for one tensor in this process. Small, so that cases near it are quick.
const MAX_TENSOR_BYTES: usize = 1 << 20;
/// An operator may hold its inputs and results a few times over, in f64, while it runs.
const MAX_CALL_BYTES: usize = 24 * MAX_TENSOR_BYTES;
/// Inference looks at facts only; what it holds follows what the facts hold, not the shapes they tell of.
const MAX_INFER_BYTES: usize = 12 * MAX_TENSOR_BYTES;
/// Debug builds on a busy machine; a single call beyond this hangs for all a user can tell.
const MAX_CALL_TIME: Duration = Duration::from_secs(10);

/// Failures by place, with the first case that shows each.
type Failures = BTreeMap<String, String>;

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());
static CURRENT: Mutex<Option<(String, Instant)>> = Mutex::new(None);

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_operator_panics_or_allocates_without_bound_whatever_it_is_given() {
    lissom_tensor::set_max_tensor_bytes(MAX_TENSOR_BYTES as u64);
    panic::set_hook(Box::new(|info| *locked(&LAST_PANIC) = info.to_string().replace('\n', " ")));
    std::thread::spawn(watch);
    let (rounds, seed) = (setting("LISSOM_HOSTILE_ROUNDS", 60), setting("LISSOM_HOSTILE_SEED", 1));
    let only = std::env::var("LISSOM_HOSTILE_OP").ok();
    let mut failures = Failures::new();
    let mut n_calls = 0u64;
    for spec in OPS.iter().filter(|spec| only.as_ref().is_none_or(|only| spec.name == only)) {
        for (index, sample) in (spec.samples)().into_iter().enumerate() {
            for round in 0..rounds {
                let mut random = Random::new(seed, &format!("{}/{}/{index}/{round}", spec.domain, spec.name));
                let case = Case::mutated(&sample, &mut random);
                n_calls += check(spec, &case, &mut random, &mut failures);
            }
        }
    }
    let _ = panic::take_hook();
    *locked(&CURRENT) = None;
    let mut report = String::new();
    for (place, case) in &failures {
        let _ = writeln!(report, "{place}\n    {case}");
    }
    println!("{n_calls} calls of {} operators, seed {seed}", OPS.len());
    assert!(failures.is_empty(), "{} places fail, seed {seed}:\n{report}", failures.len());
}

/// Names the case that hangs and ends the process: no test harness would.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_millis(500));
        if let Some((case, start)) = &*locked(&CURRENT)
            && start.elapsed() > MAX_CALL_TIME
        {
            // Past the harness, which keeps what tests print.
            let _ = writeln!(std::io::stderr(), "takes longer than {MAX_CALL_TIME:?}: {case}");
            std::process::abort();
        }
    }
}

fn check(spec: &OpSpec, case: &Case, random: &mut Random, failures: &mut Failures) -> u64 {
    let label = |what: &str| format!("{what} of {} {case}", spec.name);
    let mut guard = |what: &str, limit: usize, call: &mut dyn FnMut()| {
        *locked(&CURRENT) = Some((label(what), Instant::now()));
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        if panic::catch_unwind(AssertUnwindSafe(&mut *call)).is_err() {
            failures.entry(locked(&LAST_PANIC).clone()).or_insert_with(|| label(what));
        }
        let grown = ALLOCATOR.peak_usage().saturating_sub(before);
        if grown > limit {
            failures
                .entry(format!("{what} of {} allocates", spec.name))
                .or_insert_with(|| format!("{grown} bytes, {}", label(what)));
        }
    };
    let mut op = None;
    guard("read", MAX_INFER_BYTES, &mut || op = read(spec, case));
    let Some(op) = op else { return 1 };
    let inputs: Vec<Option<&Tensor>> = case.inputs.iter().map(Option::as_ref).collect();
    let variants = fact_variants(&inputs, random);
    for facts in &variants {
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        guard("infer", MAX_INFER_BYTES, &mut || drop(op.infer(&Facts(&facts))));
        guard("weight_axes", MAX_INFER_BYTES, &mut || {
            let _ = op.weight_axes(&Facts(&facts));
        });
        let shapes: Vec<Option<Vec<usize>>> = facts.iter().map(|fact| (*fact)?.known_shape()).collect();
        let outputs: Vec<Vec<usize>> = shapes.iter().flatten().cloned().collect();
        guard("macs", MAX_INFER_BYTES, &mut || {
            let _ = op.macs(&shapes, &outputs);
        });
    }
    guard("evaluate", MAX_CALL_BYTES, &mut || drop(op.evaluate(&Inputs(&inputs))));
    2 + 3 * variants.len() as u64
}

fn read(spec: &OpSpec, case: &Case) -> Option<Arc<dyn Op>> {
    let mut attributes = Attributes::new();
    for (name, value) in &case.attributes {
        attributes.set(*name, value.clone());
    }
    let mut graph = lissom_graph::Graph::new("case");
    let mut ids = |present: Vec<bool>| -> Vec<_> {
        present.into_iter().map(|present| present.then(|| graph.add_value("v", Fact::unknown()))).collect()
    };
    let inputs = ids(case.inputs.iter().map(Option::is_some).collect());
    let outputs = ids(vec![true; case.n_outputs]);
    NodeReader::read_op(&OPERATORS, spec.domain, spec.name, case.opset, &inputs, &outputs, &attributes).ok()
}

/// What a file may claim of the inputs: the truth in part or whole, symbols, and lies of any size.
fn fact_variants(inputs: &[Option<&Tensor>], random: &mut Random) -> Vec<Vec<Option<Fact>>> {
    let typed = |tensor: &Tensor| Fact::known(tensor.dtype(), tensor.shape());
    let symbolic = |tensor: &Tensor| {
        let dims = (0..tensor.rank()).map(|axis| Dim::symbol(format!("N{axis}"))).collect();
        Fact::new(tensor.dtype(), dims)
    };
    let each = |make: &dyn Fn(&Tensor) -> Fact| -> Vec<Option<Fact>> {
        inputs.iter().map(|tensor| tensor.map(make)).collect()
    };
    let mut variants = vec![
        each(&typed),
        each(&Fact::constant),
        each(&symbolic),
        each(&|tensor| Fact::maybe(Some(tensor.dtype()), None)),
        each(&shape_like),
    ];
    for _ in 0..3 {
        variants.push(inputs.iter().map(|tensor| tensor.map(|tensor| lie(tensor, random))).collect());
    }
    variants
}

/// Lengths known in part, as `Shape` gives them.
fn shape_like(tensor: &Tensor) -> Fact {
    let Ok(values) = tensor.to_i64_vec() else { return Fact::known(tensor.dtype(), tensor.shape()) };
    let dim = |(i, value): (usize, i64)| if i % 2 == 0 { Dim::symbol("N") } else { Dim::Known(value) };
    let value = KnownValue::Dims(values.into_iter().enumerate().map(dim).collect());
    Fact { value: Some(value), ..Fact::known(tensor.dtype(), tensor.shape()) }
}

fn lie(tensor: &Tensor, random: &mut Random) -> Fact {
    match random.below(4) {
        0 => Fact::constant(tensor),
        1 => Fact::unknown(),
        2 => shape_like(tensor),
        _ => {
            let rank = if random.below(4) == 0 { random.below(7) } else { tensor.rank() };
            let huge = [0, 1, 2, 1 << 20, 1 << 31, 1 << 40, 1 << 62, i64::MAX - 1, i64::MAX];
            let dim = |random: &mut Random| match random.below(4) {
                0 => Dim::symbol("M"),
                _ => Dim::Known(huge[random.below(huge.len())]),
            };
            let dims = (0..rank).map(|_| dim(random)).collect();
            let dtype = if random.below(4) == 0 { DType::ALL[random.below(28)] } else { tensor.dtype() };
            Fact::new(dtype, dims)
        }
    }
}
