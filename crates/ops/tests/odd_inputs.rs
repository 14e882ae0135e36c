//! Whatever an operator is given instead of what it expects, it gives a result or an error, never a panic, and never
//! tries to hold more than it may.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use lissom_graph::{Attributes, Fact, Facts, Graph, Inputs, NodeReader, Op, OpSpec, Sample};
use lissom_ops::{OPERATORS, OPS};
use lissom_tensor::{DType, Tensor, set_max_tensor_bytes};

/// Small enough that a shape of nonsense is refused at once, large enough for every sample.
const MAX_BYTES: u64 = 1 << 20;

/// Runs as often as its input says, which is its purpose.
const UNBOUNDED: [&str; 1] = ["Loop"];

fn read(spec: &OpSpec, sample: &Sample, opset: u32) -> Option<Arc<dyn Op>> {
    let attributes =
        sample.attributes.iter().fold(Attributes::new(), |all, (name, value)| all.with(name, value.clone()));
    let mut graph = Graph::new("sample");
    let mut ids = |count: usize| (0..count).map(|_| Some(graph.add_value("v", Fact::unknown()))).collect::<Vec<_>>();
    let (inputs, outputs) = (ids(sample.inputs.len()), ids(sample.n_outputs));
    NodeReader::read_op(&OPERATORS, spec.domain, spec.name, opset, &inputs, &outputs, &attributes).ok()
}

fn odd_tensors() -> Vec<Tensor> {
    let extremes = vec![i64::MAX, i64::MIN, 0, -1];
    let mut odd = vec![
        Tensor::scalar(f32::NAN),
        Tensor::scalar(-1i64),
        Tensor::scalar(i64::MAX),
        Tensor::scalar(i32::MIN),
        Tensor::scalar(true),
        Tensor::vector(extremes),
        Tensor::vector(vec![3i64, 1 << 40]),
        Tensor::vector(vec![f32::INFINITY, f32::NAN, -0.0]),
        Tensor::vector(vec![0u8, 255]),
        Tensor::vector(vec!["text".to_owned()]),
        Tensor::empty_sequence(),
        Tensor::sequence(vec![Tensor::scalar(1f32), Tensor::vector(vec![1i64, 2])]),
        Tensor::optional(None),
    ];
    let shapes: [&[usize]; 4] = [&[0], &[2, 0, 3], &[1, 1, 1, 1, 1, 1], &[3, 2]];
    for shape in shapes {
        for dtype in [DType::F32, DType::I64, DType::F8E4M3FN, DType::C64] {
            odd.extend(Tensor::zeros(dtype, shape));
        }
    }
    odd
}

fn run(op: &dyn Op, inputs: &[Option<&Tensor>]) {
    let known: Vec<Option<Fact>> = inputs.iter().map(|x| x.map(Fact::constant)).collect();
    let shapes: Vec<Option<Fact>> = inputs.iter().map(|x| x.map(|x| Fact::known(x.dtype(), x.shape()))).collect();
    for facts in [known, shapes] {
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let _ = op.infer(&Facts(&facts));
    }
    let _ = op.evaluate(&Inputs(inputs));
}

#[test]
fn no_input_makes_an_operator_panic() {
    set_max_tensor_bytes(MAX_BYTES);
    let odd = odd_tensors();
    let mut panics = BTreeSet::new();
    let places: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&places);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        seen.lock().unwrap().extend(panic.location().map(ToString::to_string));
    }));
    let mut run = |op: &dyn Op, name: &str, inputs: &[Option<&Tensor>]| {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(op, inputs))).is_err() {
            panics.insert(format!("{name} at {:?}", places.lock().unwrap().pop()));
        }
    };
    for spec in OPS.iter().filter(|spec| !UNBOUNDED.contains(&spec.name)) {
        for sample in (spec.samples)() {
            for opset in [spec.since, 13.max(spec.since), 21.max(spec.since)] {
                let Some(op) = read(spec, &sample, opset) else { continue };
                let given: Vec<Option<&Tensor>> = sample.inputs.iter().map(Option::as_ref).collect();
                for index in 0..given.len() {
                    for tensor in &odd {
                        let mut inputs = given.clone();
                        inputs[index] = Some(tensor);
                        run(&*op, spec.name, &inputs);
                    }
                    let mut inputs = given.clone();
                    inputs.remove(index);
                    run(&*op, spec.name, &inputs);
                }
                for tensor in &odd {
                    run(&*op, spec.name, &vec![Some(tensor); given.len().max(1)]);
                }
            }
        }
    }
    std::panic::set_hook(hook);
    assert!(panics.is_empty(), "{panics:#?}");
}
