//! Walks the list of operators: whatever the operator, its samples run, and inference agrees with evaluation.

use lissom_graph::{Attributes, Fact, Facts, Inputs, NodeReader, Op, OpSpec, Sample};
use lissom_ops::{OPERATORS, OPS};
use lissom_tensor::Tensor;
use std::sync::Arc;

const OPSET: u32 = 21;

fn read(spec: &OpSpec, sample: &Sample) -> Arc<dyn Op> {
    let mut attributes = Attributes::new();
    for (name, value) in &sample.attributes {
        attributes.set(*name, value.clone());
    }
    let mut graph = lissom_graph::Graph::new("sample");
    let mut ids = |present: Vec<bool>| -> Vec<_> {
        present.into_iter().map(|present| present.then(|| graph.add_value("v", Fact::unknown()))).collect()
    };
    let inputs = ids(sample.inputs.iter().map(Option::is_some).collect());
    let outputs = ids(vec![true; sample.n_outputs]);
    NodeReader::read_op(&OPERATORS, spec.domain, spec.name, OPSET.max(spec.since), &inputs, &outputs, &attributes)
        .unwrap_or_else(|error| panic!("{}: {error}", spec.name))
}

#[test]
fn inference_agrees_with_evaluation_for_every_operator() {
    for spec in OPS {
        for (i, sample) in (spec.samples)().iter().enumerate() {
            let op = read(spec, sample);
            let tensors: Vec<Option<&Tensor>> = sample.inputs.iter().map(Option::as_ref).collect();
            let outputs = op.evaluate(&Inputs(&tensors)).unwrap_or_else(|e| panic!("{} {i}: {e}", spec.name));
            let facts: Vec<Option<Fact>> =
                tensors.iter().map(|t| t.map(|t| Fact::known(t.dtype(), t.shape()))).collect();
            let constants: Vec<Option<Fact>> = tensors.iter().map(|t| t.map(Fact::constant)).collect();
            for facts in [facts, constants] {
                let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
                let inferred = op.infer(&Facts(&facts)).unwrap_or_else(|e| panic!("{} {i}: {e}", spec.name));
                for (fact, output) in inferred.iter().zip(&outputs).take(sample.n_outputs) {
                    if let Some(dtype) = fact.dtype {
                        assert_eq!(dtype, output.dtype(), "{} {i}", spec.name);
                    }
                    if let Some(shape) = &fact.shape {
                        assert_eq!(shape.len(), output.rank(), "{} {i}: {fact}", spec.name);
                        for (dim, &length) in shape.iter().zip(output.shape()) {
                            assert!(dim.known().is_none_or(|known| known == length), "{} {i}: {fact}", spec.name);
                        }
                    }
                    if let Some(value) = fact.tensor() {
                        assert_eq!(value, output, "{} {i}", spec.name);
                    }
                }
            }
        }
    }
}

#[test]
fn every_operator_refuses_missing_inputs_with_an_error() {
    for spec in OPS {
        for sample in (spec.samples)() {
            let op = read(spec, &sample);
            // No panic is what this shows; operators without required inputs may well succeed.
            let _ = op.evaluate(&Inputs(&[]));
            let _ = op.infer(&Facts(&[]));
        }
    }
}

#[test]
fn the_list_is_sorted_without_repeats_and_every_entry_has_samples() {
    let keys: Vec<_> = OPS.iter().map(|spec| (spec.domain, spec.name)).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(keys, sorted);
    let without: Vec<_> = OPS.iter().filter(|spec| (spec.samples)().is_empty()).map(|spec| spec.name).collect();
    assert!(without.is_empty(), "no samples: {without:?}");
}
