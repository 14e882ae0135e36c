//! Small networks, data, and running a step plainly.
#![allow(dead_code)] // each test binary uses a part

use std::collections::BTreeMap;

use lissom_graph::{Attribute, Attributes, Dim, Fact, Graph, Model, Patch, ValueId, infer, interpret};
use lissom_ops::OPERATORS;
use lissom_recipe::Settings;
use lissom_tensor::{DType, Tensor, Weight};
use lissom_train::{
    ARCHITECTURES, Forward, ForwardOptions, LOSSES, Loss, OPTIMIZERS, Objective, Optimizer, Parameter, SCHEDULES,
    Schedule, Step, TrainError,
};

/// Numbers in -1..1.
pub fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

pub fn tensor(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let values = numbers(shape.iter().product(), seed);
    match dtype {
        DType::F64 => Tensor::new(shape, values).unwrap(),
        _ => Tensor::new(shape, values.into_iter().map(|x| x as f32).collect()).unwrap(),
    }
}

fn settings(text: &str) -> Settings {
    Settings::from_toml("test", text).unwrap()
}

pub fn architecture(name: &str, text: &str) -> Model {
    let spec = ARCHITECTURES.iter().find(|spec| spec.name == name).unwrap();
    (spec.parse)(&settings(text)).unwrap().build(1).unwrap()
}

pub fn loss(name: &str, text: &str) -> Box<dyn Loss> {
    let spec = LOSSES.iter().find(|spec| spec.name == name).unwrap();
    (spec.parse)(&settings(text)).unwrap()
}

pub fn optimizer(name: &str, text: &str) -> Box<dyn Optimizer> {
    let spec = OPTIMIZERS.iter().find(|spec| spec.name == name).unwrap();
    (spec.parse)(&settings(text)).unwrap()
}

pub fn schedule(name: &str, text: &str) -> Box<dyn Schedule> {
    let spec = SCHEDULES.iter().find(|spec| spec.name == name).unwrap();
    (spec.parse)(&settings(text)).unwrap()
}

/// The same network in f64, with weights that are not all alike where they began so.
pub fn in_f64(model: &Model) -> Model {
    let mut model = model.clone();
    let constants: Vec<(ValueId, Tensor)> = model
        .graph
        .constants()
        .filter_map(|(id, weight)| match weight {
            Weight::Dense(tensor) if tensor.dtype() == DType::F32 => Some((id, tensor.clone())),
            _ => None,
        })
        .collect();
    for (seed, (id, tensor)) in constants.into_iter().enumerate() {
        let mut values = tensor.to_f64_vec().unwrap();
        if tensor.rank() == 1 {
            let noise = numbers(values.len(), seed as u64 + 77);
            values.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.25 * noise);
        }
        model.graph.set_constant(id, Weight::Dense(Tensor::new(tensor.shape(), values).unwrap()));
    }
    let fact = model.graph.value(model.graph.inputs()[0]).fact.clone();
    model.graph.set_input_fact(0, Fact { dtype: Some(DType::F64), ..fact });
    infer(&mut model.graph).unwrap();
    model
}

/// A network under construction; its input `x` is `[n, …]`.
pub struct Net {
    pub graph: Graph,
    pub patch: Patch,
}

impl Net {
    pub fn new(sample_shape: &[usize]) -> (Self, ValueId) {
        let mut graph = Graph::new("net");
        let mut shape = vec![Dim::symbol("n")];
        shape.extend(sample_shape.iter().map(|&length| Dim::from(length)));
        let x = graph.add_input("x", Fact::new(DType::F32, shape));
        let patch = Patch::new(&graph, 20);
        (Self { graph, patch }, x)
    }

    pub fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.patch.constant(name, Weight::Dense(tensor))
    }

    pub fn node(&mut self, op: &str, name: &str, inputs: &[ValueId], attributes: &[(&str, Attribute)]) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        let mut all = Attributes::new();
        attributes.iter().for_each(|(name, value)| all.set(*name, value.clone()));
        self.patch.node(&OPERATORS, op, name, &inputs, all).unwrap()
    }

    pub fn linear(&mut self, name: &str, x: ValueId, [n_in, n_out]: [usize; 2], seed: u64) -> ValueId {
        let weight = self.constant(&format!("{name}.weight"), tensor(DType::F32, &[n_in, n_out], seed));
        let bias = self.constant(&format!("{name}.bias"), tensor(DType::F32, &[n_out], seed + 100));
        self.node("Gemm", name, &[x, weight, bias], &[])
    }

    pub fn finish(mut self, output: ValueId) -> Model {
        self.graph.set_outputs(vec![output]);
        self.graph.apply(self.patch).unwrap();
        infer(&mut self.graph).unwrap();
        Model::new(self.graph, OPERATORS, 20)
    }
}

/// 4 → 8 → dropout → 3.
pub fn with_dropout() -> Model {
    let (mut net, x) = Net::new(&[4]);
    let hidden = net.linear("first", x, [4, 8], 1);
    let hidden = net.node("Relu", "relu", &[hidden], &[]);
    let ratio = net.constant("ratio", Tensor::scalar(0.25f32));
    let mode = net.constant("mode", Tensor::scalar(false));
    let hidden = net.node("Dropout", "dropout", &[hidden, ratio, mode], &[]);
    let scores = net.linear("second", hidden, [8, 3], 2);
    let scores = net.node("Softmax", "softmax", &[scores], &[("axis", Attribute::from(-1i64))]);
    net.finish(scores)
}

pub fn all(_: &Parameter) -> bool {
    true
}

pub fn forward(model: &Model, objective: impl Into<Objective>) -> Result<Forward, TrainError> {
    Forward::new(model, &objective.into(), all, &ForwardOptions::default())
}

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// What a forward network starts with: parameters, running statistics, and dropout that keeps everything.
pub fn initial(forward: &Forward, data: &[(&str, Tensor)]) -> Named {
    let mut named: Named = data.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    for (parameter, initial) in forward.parameters.iter().zip(&forward.initial) {
        named.insert(parameter.name.clone(), initial.clone());
    }
    for statistic in &forward.statistics {
        named.insert(forward.name(statistic.value).to_owned(), statistic.initial.clone());
    }
    named
}

/// The outputs of a graph, in order, by the oracle.
pub fn run(graph: &Graph, named: &Named) -> Vec<Tensor> {
    let inputs: Vec<Tensor> = graph.inputs().iter().map(|&id| named[&graph.value(id).name].clone()).collect();
    interpret(graph, &inputs).unwrap()
}

/// The gradient of each parameter, by the oracle.
pub fn gradients(step: &Step, named: &Named) -> Named {
    let graph = &step.model.graph;
    let names: Vec<&str> = graph.outputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
    let outputs = run(graph, named);
    let position = |name: &str| names.iter().position(|own| *own == name).unwrap();
    step.outputs.tensors.iter().map(|(name, output)| (name.clone(), outputs[position(output)].clone())).collect()
}

/// `classes` clouds of points in `features` dimensions: features and labels.
pub fn clouds(n: usize, features: usize, classes: usize, seed: u64) -> (Tensor, Tensor) {
    let centers = numbers(classes * features, 5);
    let noise = numbers(n * features, seed);
    let labels: Vec<i64> = (0..n).map(|i| (i * 7 % classes) as i64).collect();
    let x = (0..n * features).map(|at| {
        let (i, feature) = (at / features, at % features);
        (1.5 * centers[labels[i] as usize * features + feature] + 0.4 * noise[at]) as f32
    });
    (Tensor::new([n, features], x.collect::<Vec<f32>>()).unwrap(), Tensor::vector(labels))
}
