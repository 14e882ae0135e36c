//! Small networks with numbers that are the same in every run, and how to run methods on them.
#![allow(dead_code)] // each test binary uses a part

use std::sync::Arc;

use lissom_compress::{Calibration, CalibrationError, Changes, InMemory, Job, METHODS, MethodError, Methods, Silent};
use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Attribute, Attributes, Dim, Fact, Graph, Model, Patch, ValueId, infer};
use lissom_ops::OPERATORS;
use lissom_recipe::{Interrupt, LayerFilter, Settings};
use lissom_tensor::{DType, Tensor, Weight};

/// Numbers in -1..1.
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::new(shape, numbers(shape.iter().product(), seed)).unwrap()
}

/// A network under construction.
pub struct Net {
    graph: Graph,
    patch: Patch,
    opset: u32,
}

impl Net {
    /// One input `x` of f32 with any number of samples.
    pub fn new(sample_shape: &[usize], opset: u32) -> (Self, ValueId) {
        Self::of(DType::F32, sample_shape, opset)
    }

    pub fn of(dtype: DType, sample_shape: &[usize], opset: u32) -> (Self, ValueId) {
        let mut graph = Graph::new("net");
        let mut shape = vec![Dim::symbol("n")];
        shape.extend(sample_shape.iter().map(|&length| Dim::from(length)));
        let input = graph.add_input("x", Fact::new(dtype, shape));
        let patch = Patch::new(&graph, opset);
        (Self { graph, patch, opset }, input)
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

    /// A 3x3 convolution with padding and bias.
    pub fn conv(&mut self, name: &str, x: ValueId, [c_out, c_in]: [usize; 2], groups: usize, seed: u64) -> ValueId {
        let weight = self.constant(&format!("{name}.weight"), tensor(&[c_out, c_in / groups, 3, 3], seed));
        let bias = self.constant(&format!("{name}.bias"), tensor(&[c_out], seed + 1000));
        let pads = Attribute::from(vec![1i64; 4]);
        self.node("Conv", name, &[x, weight, bias], &[("pads", pads), ("group", Attribute::from(groups as i64))])
    }

    pub fn finish(mut self, output: ValueId) -> Model {
        self.graph.set_outputs(vec![output]);
        self.graph.apply(self.patch).unwrap();
        infer(&mut self.graph).unwrap();
        Model::new(self.graph, OPERATORS, self.opset)
    }
}

/// Two convolutions with a skip connection, a pool and a classifier.
pub fn cnn(opset: u32) -> Model {
    let (mut net, x) = Net::new(&[3, 8, 8], opset);
    let conv1 = net.conv("conv1", x, [8, 3], 1, 1);
    let relu1 = net.node("Relu", "relu1", &[conv1], &[]);
    let conv2 = net.conv("conv2", relu1, [8, 8], 1, 2);
    let add = net.node("Add", "add", &[conv2, relu1], &[]);
    let relu2 = net.node("Relu", "relu2", &[add], &[]);
    let pool = net.node("GlobalAveragePool", "pool", &[relu2], &[]);
    let flat = net.node("Flatten", "flat", &[pool], &[]);
    let weight = net.constant("fc.weight", tensor(&[4, 8], 3));
    let bias = net.constant("fc.bias", tensor(&[4], 4));
    let logits = net.node("Gemm", "fc", &[flat, weight, bias], &[("transB", Attribute::from(1i64))]);
    net.finish(logits)
}

/// Two products of the same rows, added and multiplied again.
pub fn rows(opset: u32) -> Model {
    let (mut net, x) = Net::new(&[5, 64], opset);
    let [a, b, c] = [("a", 11), ("b", 12), ("c", 13)].map(|(name, seed)| {
        let shape = if name == "c" { [32, 8] } else { [64, 32] };
        net.constant(&format!("{name}.weight"), tensor(&shape, seed))
    });
    let left = net.node("MatMul", "a", &[x, a], &[]);
    let right = net.node("MatMul", "b", &[x, b], &[]);
    let sum = net.node("Add", "sum", &[left, right], &[]);
    let shift = net.constant("shift", tensor(&[8], 14));
    let product = net.node("MatMul", "c", &[sum, c], &[]);
    let output = net.node("Add", "shifted", &[product, shift], &[]);
    net.finish(output)
}

/// Samples of the network's input.
pub fn samples(model: &Model, n: usize, seed: u64) -> InMemory {
    let input = model.graph.value(model.graph.inputs()[0]);
    let lengths = input.fact.shape.as_ref().unwrap()[1..].iter().map(|dim| dim.known().unwrap());
    let shape: Vec<usize> = std::iter::once(n).chain(lengths).collect();
    let len = shape.iter().product();
    let values = match input.fact.dtype {
        Some(DType::I64) => Tensor::new(shape, numbers(len, seed).iter().map(|x| (x.abs() * 256.0) as i64).collect()),
        _ => Tensor::new(shape, numbers(len, seed)),
    };
    InMemory { inputs: vec![(input.name.clone(), values.unwrap())] }
}

/// Data for a model that insists on a batch size.
pub struct Fixed(pub InMemory, pub usize);

impl Calibration for Fixed {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batch(&self, start: usize, n: usize) -> Result<Vec<(String, Tensor)>, CalibrationError> {
        assert_eq!(n, self.1);
        self.0.batch(start, n)
    }

    fn fixed_batch(&self) -> Option<usize> {
        Some(self.1)
    }
}

/// A product of constants inside of both branches of an `If`, next to `outside` if that is asked for.
pub fn branches(has_outside: bool) -> Model {
    let branch = |name: &str| {
        let mut graph = Graph::new(name);
        let mut patch = Patch::new(&graph, 17);
        let left = patch.constant(&format!("{name}.left"), Weight::Dense(tensor(&[1, 4], 1)));
        let right = patch.constant(&format!("{name}.weight"), Weight::Dense(tensor(&[4, 4], 2)));
        let inputs = [Some(left), Some(right)];
        let output = patch.node(&OPERATORS, "MatMul", name, &inputs, Attributes::new()).unwrap();
        graph.set_outputs(vec![output]);
        graph.apply(patch).unwrap();
        infer(&mut graph).unwrap();
        Attribute::Graph(Arc::new(graph))
    };
    let (mut net, x) = Net::new(&[4], 17);
    let condition = net.constant("condition", Tensor::scalar(true));
    let attributes = [("then_branch", branch("then")), ("else_branch", branch("else"))];
    let chosen = net.node("If", "if", &[condition], &attributes);
    let mut rows = x;
    if has_outside {
        let weight = net.constant("outside.weight", tensor(&[4, 4], 3));
        rows = net.node("MatMul", "outside", &[x, weight], &[]);
    }
    let sum = net.node("Add", "sum", &[rows, chosen], &[]);
    net.finish(sum)
}

/// Two layers that share a weight.
pub fn twins() -> Model {
    let (mut net, x) = Net::new(&[8], 17);
    let weight = net.constant("w", tensor(&[8, 8], 1));
    let fc1 = net.node("MatMul", "fc1", &[x, weight], &[]);
    let relu = net.node("Relu", "relu", &[fc1], &[]);
    let fc2 = net.node("MatMul", "fc2", &[relu, weight], &[]);
    net.finish(fc2)
}

/// A lookup in the weight of `head`, and a layer `fc` of its own.
pub fn tied() -> Model {
    let (mut net, ids) = Net::of(DType::I64, &[7], 17);
    let table = net.constant("table", tensor(&[32, 256], 21));
    let rows = net.node("Gather", "lookup", &[table, ids], &[("axis", Attribute::from(1i64))]);
    let rows = net.node("Transpose", "rows", &[rows], &[("perm", Attribute::from(vec![1i64, 2, 0]))]);
    let weight = net.constant("fc.weight", tensor(&[32, 32], 22));
    let fc = net.node("MatMul", "fc", &[rows, weight], &[]);
    let head = net.node("MatMul", "head", &[fc, table], &[]);
    net.finish(head)
}

/// Runs a method written as in a recipe.
pub fn apply(
    name: &str,
    settings: &str,
    model: &mut Model,
    calibration: Option<&dyn Calibration>,
    reference: Option<&Model>,
) -> Result<Changes, MethodError> {
    apply_with(name, settings, model, calibration, reference, 0)
}

/// Runs a method on all layers but one.
pub fn apply_without(
    exclude: &str,
    name: &str,
    settings: &str,
    model: &mut Model,
    calibration: Option<&dyn Calibration>,
) -> Result<Changes, MethodError> {
    let layers = LayerFilter { exclude: vec![exclude.parse().unwrap()], ..LayerFilter::all() };
    apply_to(&layers, name, settings, model, calibration, None, 0)
}

pub fn apply_with(
    name: &str,
    settings: &str,
    model: &mut Model,
    calibration: Option<&dyn Calibration>,
    reference: Option<&Model>,
    threads: usize,
) -> Result<Changes, MethodError> {
    apply_to(&LayerFilter::all(), name, settings, model, calibration, reference, threads)
}

fn apply_to(
    layers: &LayerFilter,
    name: &str,
    settings: &str,
    model: &mut Model,
    calibration: Option<&dyn Calibration>,
    reference: Option<&Model>,
    threads: usize,
) -> Result<Changes, MethodError> {
    let settings = Settings::from_toml("test.toml", settings).unwrap();
    let method = (Methods(METHODS).find(name).unwrap().parse)(&settings).unwrap();
    let interrupt = Interrupt::new();
    let job = Job {
        layers,
        calibration,
        reference,
        seed: 0,
        threads,
        progress: &Silent,
        interrupt: &interrupt,
        training: None,
    };
    method.apply(model, &job)
}

/// The first output by the plain evaluation.
pub fn run(model: &Model, data: &InMemory) -> Vec<f32> {
    let session = Session::new(model, &SessionOptions { fast: false, ..SessionOptions::default() }).unwrap();
    let inputs: Vec<(&str, &Tensor)> = data.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&inputs).unwrap()[0].to_f32_vec().unwrap()
}

/// Squared error relative to the square of what is expected.
pub fn relative_error(expected: &[f32], actual: &[f32]) -> f64 {
    assert_eq!(expected.len(), actual.len());
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = expected.iter().zip(actual).map(|(a, b)| square(a - b)).sum();
    error / expected.iter().map(|&a| square(a)).sum::<f64>()
}

pub fn count(model: &Model, op_type: &str) -> usize {
    model.graph.nodes().iter().filter(|node| node.op_type == op_type).count()
}

/// The weight of a layer.
pub fn weight<'m>(model: &'m Model, layer: &str) -> &'m Weight {
    let layer = model.graph.layers().into_iter().find(|own| own.name == layer).unwrap();
    model.graph.constant(layer.weight).unwrap()
}

/// Written and read again.
pub fn written_and_read(model: &Model) -> Model {
    Model::from_proto(model.to_proto().unwrap(), OPERATORS).unwrap()
}
