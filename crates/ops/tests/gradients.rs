//! Walks the list of operators: every gradient that exists agrees with central differences, in f64, over the samples.

use lissom_graph::{Attributes, Fact, Facts, Graph, Node, OpSpec, Patch, Sample, ValueId, Vjp, interpret};
use lissom_ops::{OPERATORS, OPS};
use lissom_tensor::{DType, Tensor};

const OPSET: u32 = 21;

/// Half the distance of a difference; the error of the difference itself is of the order of its square.
const STEP: f64 = 1e-5;

/// The same tensor in f64 if it is f32, so that differences are exact enough.
fn widened(tensor: &Tensor) -> Tensor {
    match tensor.as_slice::<f32>() {
        Ok(values) => Tensor::new(tensor.shape(), values.iter().map(|&v| f64::from(v)).collect()).unwrap(),
        Err(_) => tensor.clone(),
    }
}

/// A graph of one node, and after applying the operator's vector-Jacobian product, the gradients.
struct Case {
    graph: Graph,
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<Option<ValueId>>,
}

impl Case {
    fn new(spec: &OpSpec, sample: &Sample, tensors: &[Option<Tensor>]) -> Self {
        let mut graph = Graph::new("sample");
        let inputs: Vec<Option<ValueId>> = tensors
            .iter()
            .map(|t| t.as_ref().map(|t| graph.add_input("x", Fact::known(t.dtype(), t.shape()))))
            .collect();
        let outputs: Vec<Option<ValueId>> =
            (0..sample.n_outputs).map(|_| Some(graph.add_value("y", Fact::unknown()))).collect();
        let mut attributes = Attributes::new();
        for (name, value) in &sample.attributes {
            attributes.set(*name, value.clone());
        }
        let opset = OPSET.max(spec.since);
        let mut patch = Patch::new(&graph, opset);
        patch.node_into(&OPERATORS, spec.name, "node", &inputs, attributes, &outputs).unwrap();
        graph.set_outputs(outputs.iter().copied().flatten().collect());
        graph.apply(patch).unwrap();
        Self { graph, inputs, outputs }
    }

    fn node(&self) -> &Node {
        &self.graph.nodes()[0]
    }
}

/// Weights of the outputs in the sum that is differentiated: no two alike.
fn weights(output: &Tensor) -> Tensor {
    let values = (0..output.len()).map(|i| 0.3 + (i * 7 % 11) as f64 / 5.0).collect();
    Tensor::new(output.shape(), values).unwrap()
}

fn loss(graph: &Graph, inputs: &[Tensor]) -> f64 {
    let outputs = interpret(graph, inputs).unwrap();
    let products = outputs.iter().filter(|y| y.dtype() == DType::F64).map(|y| {
        let (values, weights) = (y.to_f64_vec().unwrap(), weights(y).to_f64_vec().unwrap());
        values.iter().zip(weights).map(|(y, w)| y * w).sum::<f64>()
    });
    products.sum()
}

/// The gradient of [`loss`] for each input, or `None` if the operator has none for this sample.
fn gradients(case: &Case, tensors: &[Tensor]) -> Option<Vec<Option<Tensor>>> {
    let mut graph = case.graph.clone();
    // Not every operator takes f64; those have no gradient either.
    let values = interpret(&graph, tensors).ok()?;
    let mut extra = Vec::new();
    let output_gradients: Vec<Option<ValueId>> = values
        .iter()
        .map(|y| {
            (y.dtype() == DType::F64).then(|| {
                extra.push(weights(y));
                graph.add_input("dy", Fact::known(DType::F64, y.shape()))
            })
        })
        .collect();
    // Each gradient takes the place of an output that stands for it until then.
    let slots: Vec<ValueId> = case.inputs.iter().map(|_| graph.add_input("slot", Fact::unknown())).collect();
    graph.set_outputs(case.outputs.iter().copied().flatten().chain(slots.iter().copied()).collect());
    extra.extend(slots.iter().map(|_| Tensor::scalar(f64::NAN)));
    let facts: Vec<Option<Fact>> = case.inputs.iter().map(|id| id.map(|id| graph.value(id).fact.clone())).collect();
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let mut patch = Patch::new(&graph, case.node().opset);
    let mut vjp = Vjp {
        patch: &mut patch,
        operators: &OPERATORS,
        inputs: &case.inputs,
        facts: Facts(&facts),
        outputs: &case.outputs,
        output_gradients: &output_gradients,
    };
    let found = case.node().op.vjp(&mut vjp).ok()?;
    assert_eq!(found.len(), case.inputs.len(), "a gradient, or none, for each input");
    for (slot, gradient) in slots.iter().zip(&found) {
        if let Some(gradient) = gradient {
            patch.replace_uses(*slot, *gradient);
        }
    }
    graph.apply(patch).unwrap();
    let all: Vec<Tensor> = tensors.iter().cloned().chain(extra).collect();
    let outputs = interpret(&graph, &all).unwrap();
    let results = outputs[values.len()..].iter().zip(&found);
    Some(results.map(|(output, gradient)| gradient.map(|_| output.clone())).collect())
}

/// Checks one sample; false if the operator has no gradient for it.
fn check(spec: &OpSpec, index: usize, sample: &Sample) -> bool {
    let given: Vec<Option<Tensor>> = sample.inputs.iter().map(|t| t.as_ref().map(widened)).collect();
    if !given.iter().flatten().any(|t| t.dtype() == DType::F64) {
        return false;
    }
    let case = Case::new(spec, sample, &given);
    let mut tensors: Vec<Tensor> = given.iter().flatten().cloned().collect();
    let place = format!("{} {index}", spec.name);
    let Some(found) = gradients(&case, &tensors) else { return false };
    let found: Vec<Option<Tensor>> =
        found.into_iter().zip(&given).filter(|(_, given)| given.is_some()).map(|(gradient, _)| gradient).collect();
    for (input, gradient) in found.iter().enumerate() {
        if tensors[input].dtype() != DType::F64 {
            assert!(gradient.is_none(), "{place}: input {input} is not differentiable");
            continue;
        }
        if let Some(gradient) = gradient {
            assert_eq!(gradient.shape(), tensors[input].shape(), "{place}: shape of the gradient of input {input}");
        }
        for element in 0..tensors[input].len() {
            let mut moved = |by: f64| {
                let original = tensors[input].clone();
                tensors[input].as_mut_slice::<f64>().unwrap()[element] += by;
                let loss = loss(&case.graph, &tensors);
                tensors[input] = original;
                loss
            };
            let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let actual = gradient.as_ref().map_or(0.0, |gradient| gradient.as_slice::<f64>().unwrap()[element]);
            // A sample that stands on a kink (Relu at 0) has no difference to compare with.
            let one_sided = (moved(STEP) - moved(0.0)) / STEP;
            if (one_sided - expected).abs() > 1e-3 * (1.0 + expected.abs()) {
                continue;
            }
            assert!(
                (actual - expected).abs() <= 1e-6 * (1.0 + expected.abs()),
                "{place}: input {input} element {element}: {actual}, difference {expected}"
            );
        }
    }
    true
}

#[test]
fn every_gradient_agrees_with_central_differences() {
    let mut with_gradient = Vec::new();
    for spec in OPS.iter().filter(|spec| spec.domain.is_empty()) {
        let samples = (spec.samples)();
        let n_checked = samples.iter().enumerate().filter(|(index, sample)| check(spec, *index, sample)).count();
        if n_checked > 0 {
            with_gradient.push(spec.name);
        }
    }
    println!("checked: {with_gradient:?}");
    for name in ["Add", "Gemm", "MatMul", "Relu"] {
        assert!(with_gradient.contains(&name), "{name} has lost its gradient");
    }
}
