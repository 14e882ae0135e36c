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
    let opset = OPSET.max(spec.since);
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

/// What is different, if something is.
fn difference(plain: &[Tensor], fast: &[Tensor], codes: f64) -> Option<String> {
    if plain.len() != fast.len() {
        return Some(format!("plain {} outputs, fast {}", plain.len(), fast.len()));
    }
    plain.iter().zip(fast).find_map(|(plain, fast)| {
        if (plain.dtype(), plain.shape()) != (fast.dtype(), fast.shape()) {
            return Some(format!("plain {plain:?}, fast {fast:?}"));
        }
        if matches!(plain.dtype(), DType::U8 | DType::I8) && codes > 0.0 {
            let pairs = plain.to_f64_vec().unwrap().into_iter().zip(fast.to_f64_vec().unwrap());
            let apart = pairs.into_iter().find(|(a, b)| (a - b).abs() > codes);
            return apart.map(|(a, b)| format!("plain {a}, fast {b}"));
        }
        if plain.dtype() != DType::F32 {
            // Not every type compares equal to itself (NaN), so texts are compared.
            let (plain, fast) = (format!("{plain:?}"), format!("{fast:?}"));
            return (plain != fast).then(|| format!("plain {plain}, fast {fast}"));
        }
        let pairs = plain.as_slice::<f32>().unwrap().iter().zip(fast.as_slice::<f32>().unwrap());
        let is_close = |a: f32, b: f32| (a - b).abs() <= 2e-5 * (1.0 + a.abs()) || a == b || (a.is_nan() && b.is_nan());
        let apart = pairs.into_iter().find(|(a, b)| !is_close(**a, **b));
        apart.map(|(a, b)| format!("plain {a}, fast {b}"))
    })
}

#[test]
fn every_sample_gives_the_same_plainly_and_fast() {
    let (mut n_run, mut different) = (0, Vec::new());
    for spec in OPS {
        // Sums of codes are in f64 plainly and in f32 in kernels: where they fall between two codes either is right.
        let codes = if spec.domain == "com.microsoft" && spec.name.starts_with("QLinear") { 1.0 } else { 0.0 };
        for (number, sample) in (spec.samples)().iter().enumerate() {
            // All given, all but the first constant, all constant.
            for constants in [0, !1, !0] {
                let Some((model, given)) = model(spec, sample, constants) else { continue };
                let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
                let run = |fast, part_bytes| {
                    let options = SessionOptions { threads: 2, fast, part_bytes, ..SessionOptions::default() };
                    Session::new(&model, &options).unwrap().run(&inputs)
                };
                let is_pure = model.graph.nodes().iter().all(|node| node.op.is_deterministic());
                let plain = run(false, 1);
                // As a whole, and one item of the batch after the other where the operator allows it.
                for part_bytes in [usize::MAX, 1] {
                    let found = match (&plain, &run(true, part_bytes)) {
                        (Ok(plain), Ok(fast)) if is_pure => difference(plain, fast, codes),
                        (Ok(_), Ok(_)) => None,
                        (plain, fast) => {
                            let (plain, fast) = (plain.as_ref().map(|_| ()), fast.as_ref().map(|_| ()));
                            (plain != fast).then(|| format!("plain {plain:?}, fast {fast:?}"))
                        }
                    };
                    different.extend(found.map(|found| {
                        format!("{} {} sample {number}, constants {constants:b}: {found}", spec.domain, spec.name)
                    }));
                }
                n_run += 1;
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
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
