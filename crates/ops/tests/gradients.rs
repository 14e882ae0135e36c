//! Walks the list of operators: every gradient that exists agrees with central differences, in f64, over the samples, with
//! its nodes written in several opsets.

use std::collections::BTreeMap;

use lissom_graph::{Attributes, Dim, Fact, Facts, Graph, Node, OpSpec, Patch, Sample, ValueId, Vjp, interpret};
use lissom_ops::{OPERATORS, OPS};
use lissom_tensor::{DType, Tensor};

/// The opset samples are written in.
const OPSET: u32 = 21;

/// Opsets gradients are written in besides: axes became inputs in 13 and 18.
const GRADIENT_OPSETS: [u32; 2] = [12, 17];

/// Before this opset no reshaping gives a length of zero.
const RESHAPES_TO_NOTHING: u32 = 14;

/// Whose operators have gradients.
const DOMAINS: [&str; 2] = ["", "com.microsoft"];

/// Operators that have a gradient, so that none is lost.
#[rustfmt::skip]
const WITH_GRADIENT: &[&str] = &[
    "Abs", "Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atanh", "Attention", "AveragePool", "BatchNormalization",
    "Cast", "CastLike", "Celu", "Clip", "Concat", "Conv", "ConvTranspose", "Cos", "Cosh", "CumSum", "DepthToSpace",
    "Div", "Dropout", "Einsum", "Elu", "Erf", "Exp", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
    "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization", "HardSigmoid", "HardSwish",
    "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization",
    "MatMul", "Max", "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg",
    "NegativeLogLikelihoodLoss", "PRelu", "Pad", "Pow", "RMSNormalization", "Reciprocal", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "Resize", "ReverseSequence", "Scatter", "ScatterElements", "ScatterND",
    "Selu", "Shrink", "Sigmoid", "Sin", "Sinh", "Slice", "Softmax", "SoftmaxCrossEntropyLoss", "Softplus", "Softsign",
    "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Tile",
    "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where", "com.microsoft.BatchNormInternal",
    "com.microsoft.BiasGelu", "com.microsoft.FastGelu", "com.microsoft.FusedMatMul", "com.microsoft.Gelu",
    "com.microsoft.SkipLayerNormalization", "com.microsoft.SoftmaxCrossEntropyLossInternal",
];

/// Operators that are constant between steps, or look at the shape alone: their gradient is zero.
const CONSTANT_BETWEEN_STEPS: &[&str] =
    &["Ceil", "EyeLike", "Floor", "Hardmax", "RandomNormalLike", "RandomUniformLike", "Round", "Sign"];

/// Operators of whose outputs only the first ones are differentiable.
const DIFFERENTIABLE_OUTPUTS: &[(&str, usize)] = &[("BatchNormInternal", 1), ("BatchNormalization", 1)];

/// Inputs of reals that are taken as given: weights of classes, ratios.
const GIVEN_INPUTS: &[(&str, usize)] = &[
    ("Dropout", 1),
    ("NegativeLogLikelihoodLoss", 2),
    ("Resize", 1),
    ("Resize", 2),
    ("SoftmaxCrossEntropyLoss", 2),
    ("SoftmaxCrossEntropyLossInternal", 2),
];

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
    /// Outputs that are differentiated.
    n_differentiable: usize,
}

impl Case {
    /// The node has the outputs of the sample, and those its gradient reads.
    fn new(spec: &OpSpec, sample: &Sample, tensors: &[Option<Tensor>], opset: u32) -> Self {
        let case = Self::with_outputs(spec, sample, tensors, (opset, sample.n_outputs));
        match case.node().op.saved_outputs() {
            saved if saved > sample.n_outputs => Self::with_outputs(spec, sample, tensors, (opset, saved)),
            _ => case,
        }
    }

    fn with_outputs(
        spec: &OpSpec,
        sample: &Sample,
        tensors: &[Option<Tensor>],
        (opset, n_outputs): (u32, usize),
    ) -> Self {
        let mut graph = Graph::new("sample");
        let inputs: Vec<Option<ValueId>> = tensors
            .iter()
            .map(|t| t.as_ref().map(|t| graph.add_input("x", Fact::known(t.dtype(), t.shape()))))
            .collect();
        let outputs: Vec<Option<ValueId>> =
            (0..n_outputs).map(|_| Some(graph.add_value("y", Fact::unknown()))).collect();
        let attributes =
            sample.attributes.iter().fold(Attributes::new(), |all, (name, value)| all.with(name, value.clone()));
        let mut patch = Patch::new(&graph, opset);
        patch.node_of(&OPERATORS, (spec.domain, spec.name), "node", &inputs, attributes, &outputs).unwrap();
        graph.set_outputs(outputs.iter().copied().flatten().collect());
        graph.apply(patch).unwrap();
        let limit = DIFFERENTIABLE_OUTPUTS.iter().find(|(name, _)| *name == spec.name);
        Self { graph, inputs, outputs, n_differentiable: limit.map_or(usize::MAX, |(_, n)| *n) }
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

fn loss(case: &Case, inputs: &[Tensor]) -> f64 {
    let outputs = interpret(&case.graph, inputs).unwrap();
    let products = outputs.iter().take(case.n_differentiable).filter(|y| y.dtype() == DType::F64).map(|y| {
        let (values, weights) = (y.to_f64_vec().unwrap(), weights(y).to_f64_vec().unwrap());
        values.iter().zip(weights).map(|(y, w)| y * w).sum::<f64>()
    });
    products.sum()
}

/// How much a gradient is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// All lengths.
    Lengths,
    /// All lengths but that of the first axis, which is a symbol of its own for each input.
    AllButFirst,
}

impl Known {
    fn fact(self, input: usize, tensor: &Tensor) -> Fact {
        match (self, tensor.dtype()) {
            (Self::AllButFirst, DType::F64) => {
                let mut fact = Fact::known(DType::F64, tensor.shape());
                let first = fact.shape.iter_mut().flat_map(|shape| shape.first_mut());
                first.for_each(|dim| *dim = Dim::symbol(format!("n{input}")));
                fact
            }
            (Self::Lengths, DType::F64) => Fact::known(DType::F64, tensor.shape()),
            // What is no real is mostly a constant in networks: axes, shapes.
            _ => Fact::constant(tensor),
        }
    }
}

/// The gradient of [`loss`] for each input, in nodes of `opset`, or `None` if the operator has none for this sample.
fn gradients(case: &Case, tensors: &[Tensor], opset: u32, known: Known) -> Option<Vec<Option<Tensor>>> {
    let mut graph = case.graph.clone();
    // Not every operator takes f64; those have no gradient either.
    let values = interpret(&graph, tensors).ok()?;
    let mut extra = Vec::new();
    let mut output_gradients: Vec<Option<ValueId>> = Vec::new();
    for (index, y) in values.iter().enumerate() {
        let is_real = y.dtype() == DType::F64 && index < case.n_differentiable;
        output_gradients.push(is_real.then(|| {
            extra.push(weights(y));
            graph.add_input("dy", Fact::known(DType::F64, y.shape()))
        }));
    }
    // No reals, nothing that could flow back.
    if extra.is_empty() {
        return None;
    }
    // Each gradient takes the place of an output that stands for it until then.
    let slots: Vec<ValueId> = case.inputs.iter().map(|_| graph.add_input("slot", Fact::unknown())).collect();
    graph.set_outputs(case.outputs.iter().copied().flatten().chain(slots.iter().copied()).collect());
    extra.extend(slots.iter().map(|_| Tensor::scalar(f64::NAN)));
    let facts: Vec<Option<Fact>> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(index, id)| {
            let position = case.inputs[..index].iter().flatten().count();
            (*id).map(|_| known.fact(index, &tensors[position]))
        })
        .collect();
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let mut patch = Patch::new(&graph, opset);
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
    let outputs = interpret(&graph, &all).unwrap_or_else(|error| panic!("{}: {error}", case.node().op_type));
    let results = outputs[values.len()..].iter().zip(&found);
    Some(results.map(|(output, gradient)| gradient.map(|_| output.clone())).collect())
}

/// How a sample is checked.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Opset of the operator.
    node_opset: u32,
    /// Opset of its gradient.
    opset: u32,
    known: Known,
}

/// What was compared.
#[derive(Default)]
struct Checked {
    /// Samples that have a gradient.
    samples: usize,
    /// Samples that have none.
    without: usize,
    /// Samples that have none if a length is not known.
    without_lengths: usize,
    /// Elements of inputs whose difference was compared.
    elements: usize,
    /// Those of them where it was not zero.
    nonzero: usize,
}

/// Checks one sample.
fn check(spec: &OpSpec, index: usize, sample: &Sample, way: Way, checked: &mut Checked) {
    let Way { node_opset, opset, known } = way;
    let given: Vec<Option<Tensor>> = sample.inputs.iter().map(|t| t.as_ref().map(widened)).collect();
    let is_empty = given.iter().flatten().any(Tensor::is_empty);
    if !given.iter().flatten().any(|t| t.dtype() == DType::F64) || (is_empty && opset < RESHAPES_TO_NOTHING) {
        return;
    }
    let case = Case::new(spec, sample, &given, node_opset);
    let mut tensors: Vec<Tensor> = given.iter().flatten().cloned().collect();
    let place = format!("{} {index}, opset {opset}, {known:?}", spec.name);
    let Some(found) = gradients(&case, &tensors, opset, known) else {
        match known {
            Known::Lengths => checked.without += 1,
            Known::AllButFirst => checked.without_lengths += 1,
        }
        return;
    };
    checked.samples += usize::from(known == Known::Lengths);
    let found = found.into_iter().enumerate().zip(&given).filter(|(_, given)| given.is_some());
    let found: Vec<(usize, Option<Tensor>)> = found.map(|(gradient, _)| gradient).collect();
    for (position, (input, gradient)) in found.iter().enumerate() {
        if tensors[position].dtype() != DType::F64 {
            assert!(gradient.is_none(), "{place}: input {input} is not differentiable");
            continue;
        }
        if GIVEN_INPUTS.contains(&(spec.name, *input)) {
            continue;
        }
        if let Some(gradient) = gradient {
            assert_eq!(gradient.shape(), tensors[position].shape(), "{place}: shape of the gradient of input {input}");
        }
        for element in 0..tensors[position].len() {
            let mut moved = |by: f64| {
                let original = tensors[position].clone();
                tensors[position].as_mut_slice::<f64>().unwrap()[element] += by;
                let loss = loss(&case, &tensors);
                tensors[position] = original;
                loss
            };
            let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            // A sample that stands on a kink (Relu at 0) or a step, or outside the domain, has no difference to compare with.
            let one_sided = (moved(STEP) - moved(0.0)) / STEP;
            let wide = (moved(2.0 * STEP) - moved(-2.0 * STEP)) / (4.0 * STEP);
            let agrees = |other: f64, within: f64| (other - expected).abs() <= within * (1.0 + expected.abs());
            if !expected.is_finite() || !agrees(one_sided, 1e-3) || !agrees(wide, 3e-7) {
                continue;
            }
            let actual = gradient.as_ref().map_or(0.0, |gradient| gradient.as_slice::<f64>().unwrap()[element]);
            assert!(
                (actual - expected).abs() <= 1e-6 * (1.0 + expected.abs()),
                "{place}: input {input} element {element}: {actual}, difference {expected}"
            );
            checked.elements += 1;
            checked.nonzero += usize::from(expected.abs() > 1e-9);
        }
    }
}

#[test]
fn every_gradient_agrees_with_central_differences() {
    let mut found: BTreeMap<String, Checked> = BTreeMap::new();
    let mut failures = Vec::new();
    for spec in OPS.iter().filter(|spec| DOMAINS.contains(&spec.domain)) {
        let name = match spec.domain {
            "" => spec.name.to_owned(),
            domain => format!("{domain}.{}", spec.name),
        };
        let newest = OPSET.max(spec.since);
        let opsets = GRADIENT_OPSETS.into_iter().filter(|&opset| opset >= spec.since && opset < newest);
        let way = |opset, known| Way { node_opset: newest, opset, known };
        let ways = opsets.map(|opset| way(opset, Known::Lengths));
        let ways = ways.chain([way(newest, Known::Lengths), way(newest, Known::AllButFirst)]);
        for way in ways {
            for (index, sample) in (spec.samples)().iter().enumerate() {
                let checked = found.entry(name.clone()).or_default();
                let run = std::panic::AssertUnwindSafe(|| check(spec, index, sample, way, checked));
                if let Err(panic) = std::panic::catch_unwind(run) {
                    let text = panic.downcast_ref::<String>().cloned();
                    failures.push(format!("{} {index}, {way:?}: {}", spec.name, text.unwrap_or_default()));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    let with_gradient: Vec<&str> = found.iter().filter(|(_, c)| c.samples > 0).map(|(name, _)| &**name).collect();
    let listed = |name: &str| WITH_GRADIENT.contains(&name) || CONSTANT_BETWEEN_STEPS.contains(&name);
    let unlisted: Vec<_> = with_gradient.iter().filter(|name| !listed(name)).collect();
    let partly: Vec<_> = found.iter().filter(|(_, c)| c.samples > 0 && c.without > 0).map(|(name, _)| name).collect();
    let needing = found.iter().filter(|(_, c)| c.samples > 0 && c.without_lengths > c.without);
    println!("need all lengths: {:?}", needing.map(|(name, _)| name).collect::<Vec<_>>());
    println!("no gradient for some samples: {partly:?}");
    assert!(unlisted.is_empty(), "not in the list: {unlisted:?}");
    let lost: Vec<_> = WITH_GRADIENT.iter().filter(|name| found.get(**name).is_none_or(|c| c.nonzero == 0)).collect();
    assert!(lost.is_empty(), "no gradient was compared, though there must be one: {lost:?}");
    let steps: Vec<_> =
        CONSTANT_BETWEEN_STEPS.iter().filter(|name| found.get(**name).is_none_or(|c| c.elements == 0)).collect();
    assert!(steps.is_empty(), "nothing was compared: {steps:?}");
}

#[test]
fn a_softmax_of_an_old_opset_has_the_gradient_of_all_axes_together() {
    for name in ["Softmax", "LogSoftmax"] {
        let spec = OPERATORS.find("", name).unwrap();
        let x = Tensor::new([2, 2, 3], (0..12).map(|i| (i * 7 % 12) as f32 / 4.0).collect()).unwrap();
        let mut checked = Checked::default();
        let way = Way { node_opset: 11, opset: 12, known: Known::Lengths };
        check(spec, 0, &Sample::new([x]).with("axis", 1i64), way, &mut checked);
        assert_eq!(checked.nonzero, 12, "{name}");
    }
}
