//! Walks the list of operators: every sample gives the same through a plan and plainly, whichever inputs are constants.

use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Attributes, Fact, Graph, Model, OpSpec, Patch, Sample};
use lissom_ops::{OPERATORS, OPS};
use lissom_tensor::{DType, Tensor, Weight};

const OPSET: u32 = 21;

/// The sample as a graph of one node. Inputs whose bit is set in `constants` are constants.
fn model(spec: &OpSpec, sample: &Sample, constants: usize) -> Option<(Model, Vec<(String, Tensor)>)> {
    let mut graph = Graph::new("sample");
    let mut given = Vec::new();
    let mut ids = Vec::new();
    for (index, tensor) in sample.inputs.iter().enumerate() {
        ids.push(match tensor {
            None => None,
            Some(tensor) if constants >> index & 1 == 1 => Some(graph.add_constant("c", Weight::Dense(tensor.clone()))),
            Some(tensor) => {
                let id = graph.add_input("x", Fact::known(tensor.dtype(), tensor.shape()));
                given.push((graph.value(id).name.clone(), tensor.clone()));
                Some(id)
            }
        });
    }
    let opset = if spec.domain.is_empty() { OPSET.max(spec.since) } else { spec.since };
    let outputs: Vec<_> = (0..sample.n_outputs).map(|_| Some(graph.add_value("y", Fact::unknown()))).collect();
    let mut attributes = Attributes::new();
    sample.attributes.iter().for_each(|(name, value)| attributes.set(*name, value.clone()));
    let mut patch = Patch::new(&graph, opset);
    patch.node_of(&OPERATORS, (spec.domain, spec.name), "node", &ids, attributes, &outputs).ok()?;
    graph.set_outputs(outputs.into_iter().flatten().collect());
    graph.apply(patch).unwrap();
    lissom_graph::infer(&mut graph).unwrap();
    // Applying drops nothing that is used, and inputs stay even if nothing uses them.
    Some((Model::new(graph, OPERATORS, opset), given))
}

fn assert_alike(what: &str, plain: &[Tensor], fast: &[Tensor]) {
    assert_eq!(plain.len(), fast.len(), "{what}");
    for (plain, fast) in plain.iter().zip(fast) {
        assert_eq!((plain.dtype(), plain.shape()), (fast.dtype(), fast.shape()), "{what}");
        if plain.dtype() != DType::F32 {
            // Not every type compares equal to itself (NaN), so texts are compared.
            assert_eq!(format!("{plain:?}"), format!("{fast:?}"), "{what}");
            continue;
        }
        let (a, b) = (plain.as_slice::<f32>().unwrap(), fast.as_slice::<f32>().unwrap());
        for (a, b) in a.iter().zip(b) {
            let is_close = (a - b).abs() <= 2e-5 * (1.0 + a.abs()) || a == b || (a.is_nan() && b.is_nan());
            assert!(is_close, "{what}: plain {a}, fast {b}");
        }
    }
}

#[test]
fn every_sample_gives_the_same_plainly_and_fast() {
    let mut n_run = 0;
    for spec in OPS.iter().filter(|spec| spec.domain.is_empty()) {
        for (number, sample) in (spec.samples)().iter().enumerate() {
            // All given, all but the first constant, all constant.
            for constants in [0, !1, !0] {
                let Some((model, given)) = model(spec, sample, constants) else { continue };
                let what = format!("{} sample {number}, constants {constants:b}", spec.name);
                let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
                let run = |fast| {
                    let options = SessionOptions { threads: 2, fast, ..SessionOptions::default() };
                    Session::new(&model, &options).unwrap().run(&inputs)
                };
                let is_pure = model.graph.nodes().iter().all(|node| node.op.is_deterministic());
                match (run(false), run(true)) {
                    (Ok(plain), Ok(fast)) if is_pure => assert_alike(&what, &plain, &fast),
                    (Ok(_), Ok(_)) => {}
                    (plain, fast) => assert_eq!(plain.map(|_| ()), fast.map(|_| ()), "{what}"),
                }
                n_run += 1;
            }
        }
    }
    assert!(n_run > 3 * OPS.len(), "only {n_run} samples were run");
}

/// Weights are inputs while training.
#[test]
fn operators_of_training_run_kernels_when_all_inputs_are_given() {
    let names = ["FastGeluGrad", "GeluGrad", "LayerNormalization", "LayerNormalizationGrad", "SigmoidGrad", "TanhGrad"];
    let mut n_run = 0;
    for spec in OPS.iter().filter(|spec| names.contains(&spec.name)) {
        let (model, given) = model(spec, &(spec.samples)()[0], 0).unwrap();
        let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let session = Session::new(&model, &SessionOptions::default()).unwrap();
        session.run(&inputs).unwrap();
        assert_eq!(session.notes(), Vec::<String>::new(), "{}", spec.name);
        n_run += 1;
    }
    assert_eq!(n_run, names.len());
}
