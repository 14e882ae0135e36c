//! Networks made in memory, for the tests of the engine.

#![allow(dead_code, reason = "each test file uses a part")]

use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Attributes, Fact, Graph, Model, NodeReader, Patch, ValueId};
use lissom_ops::OPERATORS;
use lissom_tensor::{Affine, DType, Tensor, Weight};

/// A graph that grows at the end.
pub struct Net {
    graph: Graph,
    patch: Patch,
    seed: u64,
    n_nodes: usize,
}

/// Numbers between -1 and 1.
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn noise_tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::new(shape, noise(shape.iter().product(), seed)).unwrap()
}

impl Net {
    /// A network with one f32 input `x`, whose first axis is symbolic.
    pub fn new(shape: &[usize], opset: u32, seed: u64) -> (Self, ValueId) {
        let mut graph = Graph::new("test");
        let mut fact = Fact::known(DType::F32, shape);
        fact.shape.as_mut().unwrap()[0] = lissom_graph::Dim::symbol("N");
        let x = graph.add_input("x", fact);
        let patch = Patch::new(&graph, opset);
        (Self { graph, patch, seed, n_nodes: 0 }, x)
    }

    fn next_seed(&mut self) -> u64 {
        self.seed += 1;
        self.seed
    }

    pub fn node(&mut self, op: &str, inputs: &[ValueId], attributes: Attributes) -> ValueId {
        self.n_nodes += 1;
        let name = format!("{op}{}", self.n_nodes);
        let inputs: Vec<_> = inputs.iter().map(|&id| Some(id)).collect();
        self.patch.node(&OPERATORS, op, &name, &inputs, attributes).unwrap()
    }

    /// A node with several outputs.
    pub fn many(&mut self, op: &str, inputs: &[ValueId], n_outputs: usize) -> Vec<ValueId> {
        self.n_nodes += 1;
        let name = format!("{op}{}", self.n_nodes);
        let inputs: Vec<_> = inputs.iter().map(|&id| Some(id)).collect();
        let outputs: Vec<_> = (0..n_outputs).map(|_| self.patch.value("part", Fact::unknown())).collect();
        let made: Vec<_> = outputs.iter().map(|&id| Some(id)).collect();
        self.patch.node_into(&OPERATORS, op, &name, &inputs, Attributes::new(), &made).unwrap();
        outputs
    }

    /// A node of `com.microsoft`.
    pub fn microsoft(&mut self, op: &str, inputs: &[ValueId], attributes: Attributes) -> ValueId {
        // A patch makes nodes of ONNX's own domain only, so one of those is changed.
        let mut other = Graph::new("other");
        let x = other.add_input("x", Fact::unknown());
        let mut patch = Patch::new(&other, 13);
        let y = patch.node(&OPERATORS, "Identity", "other", &[Some(x)], Attributes::new()).unwrap();
        other.set_outputs(vec![y]);
        other.apply(patch).unwrap();
        let mut node = other.nodes()[0].clone();
        self.n_nodes += 1;
        let output = self.patch.value("coded", Fact::unknown());
        node.name = format!("{op}{}", self.n_nodes);
        (node.op_type, node.domain, node.opset) = (op.to_owned(), "com.microsoft".to_owned(), 1);
        node.inputs = inputs.iter().map(|&id| Some(id)).collect();
        node.outputs = vec![Some(output)];
        let (inputs, outputs) = (&node.inputs, &node.outputs);
        node.op = NodeReader::read_op(&OPERATORS, "com.microsoft", op, 1, inputs, outputs, &attributes).unwrap();
        node.attributes = attributes;
        self.patch.push_node(node);
        output
    }

    pub fn plain(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.node(op, inputs, Attributes::new())
    }

    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.patch.constant("c", Weight::Dense(tensor))
    }

    pub fn scalar(&mut self, value: f32) -> ValueId {
        self.constant(Tensor::scalar(value))
    }

    /// A constant of noise, `scale` large.
    pub fn weight(&mut self, shape: &[usize], scale: f32) -> ValueId {
        let seed = self.next_seed();
        let values = noise(shape.iter().product(), seed).into_iter().map(|x| x * scale).collect::<Vec<_>>();
        self.constant(Tensor::new(shape, values).unwrap())
    }

    /// i8 codes of noise with a scale for each element of axis `axis`.
    pub fn affine(&mut self, shape: &[usize], axis: usize, step: f32) -> ValueId {
        let seed = self.next_seed();
        let codes: Vec<i8> = noise(shape.iter().product(), seed).into_iter().map(|x| (x * 127.0) as i8).collect();
        let scale = (0..shape[axis]).map(|i| step * (1.0 + i as f32 % 3.0)).collect();
        let affine = Affine {
            codes: Tensor::new(shape, codes).unwrap(),
            scale: Tensor::vector(scale),
            zero_point: None,
            axis,
            block_size: 0,
        };
        self.encoded(affine)
    }

    /// A constant in integer codes.
    pub fn encoded(&mut self, affine: Affine) -> ValueId {
        self.patch.constant("w", Weight::Affine(affine))
    }

    pub fn conv(&mut self, x: ValueId, [c_out, c_in, k]: [usize; 3], stride: usize, groups: usize) -> ValueId {
        let weight = self.weight(&[c_out, c_in / groups, k, k], 1.0 / k as f32);
        let bias = self.weight(&[c_out], 0.5);
        self.node("Conv", &[x, weight, bias], window(k, stride).with("group", groups as i64))
    }

    pub fn batch_norm(&mut self, x: ValueId, channels: usize) -> ValueId {
        let parts: Vec<ValueId> = (0..3).map(|_| self.weight(&[channels], 1.0)).collect();
        let seed = self.next_seed();
        let variance = noise(channels, seed).into_iter().map(|v| v.abs() + 0.2).collect::<Vec<_>>();
        let variance = self.constant(Tensor::vector(variance));
        self.plain("BatchNormalization", &[x, parts[0], parts[1], parts[2], variance])
    }

    /// Quantized to u8 and back; gives both values.
    pub fn quantized(&mut self, x: ValueId, scale: f32, zero_point: u8) -> (ValueId, ValueId) {
        let (scale, zero) = (self.scalar(scale), self.constant(Tensor::scalar(zero_point)));
        let codes = self.plain("QuantizeLinear", &[x, scale, zero]);
        (codes, self.plain("DequantizeLinear", &[codes, scale, zero]))
    }

    pub fn finish(mut self, outputs: Vec<ValueId>) -> Model {
        let opset = self.patch.opset();
        self.graph.set_outputs(outputs);
        self.graph.apply(self.patch).unwrap();
        lissom_graph::infer(&mut self.graph).unwrap();
        Model::new(self.graph, OPERATORS, opset)
    }
}

/// Kernel, stride, and padding that keeps the size at stride 1.
pub fn window(k: usize, stride: usize) -> Attributes {
    let pad = (k / 2) as i64;
    Attributes::new()
        .with("kernel_shape", vec![k as i64; 2])
        .with("strides", vec![stride as i64; 2])
        .with("pads", vec![pad; 4])
}

pub fn session(model: &Model, fast: bool, threads: usize) -> Session {
    Session::new(model, &SessionOptions { threads, fast, ..SessionOptions::default() }).unwrap()
}

/// Runs plainly and fast on 1, 2 and 4 threads; gives the plain and the fast outputs. Fast ones must have the same bytes
/// at any number of threads, and nothing may have fallen back on the whole.
pub fn both(model: &Model, x: &Tensor) -> (Vec<Tensor>, Vec<Tensor>) {
    let name = session(model, true, 1).inputs()[0].name.clone();
    let plain = session(model, false, 1).run(&[(&name, x)]).unwrap();
    let runs: Vec<Vec<Tensor>> = [1, 2, 4]
        .iter()
        .map(|&threads| {
            let session = session(model, true, threads);
            let first = session.run(&[(&name, x)]).unwrap();
            assert_eq!(first, session.run(&[(&name, x)]).unwrap(), "a second run differs");
            let whole = session.notes().into_iter().find(|note| note.contains("the network runs its plain evaluation"));
            assert_eq!(whole, None);
            first
        })
        .collect();
    assert_eq!(runs[0], runs[1], "2 threads change the result");
    assert_eq!(runs[0], runs[2], "4 threads change the result");
    let parts = SessionOptions { threads: 2, part_bytes: 1, ..SessionOptions::default() };
    let parts = Session::new(model, &parts).unwrap().run(&[(&name, x)]).unwrap();
    assert_eq!(runs[0], parts, "parts of the batch change the result");
    (plain, runs[0].clone())
}

/// Fails if an element differs by more than `tolerance` times the largest.
pub fn assert_close(plain: &[Tensor], fast: &[Tensor], tolerance: f64) {
    assert_eq!(plain.len(), fast.len());
    for (index, (plain, fast)) in plain.iter().zip(fast).enumerate() {
        assert_eq!((plain.dtype(), plain.shape()), (fast.dtype(), fast.shape()), "output {index}");
        let (a, b) = (plain.to_f64_vec().unwrap(), fast.to_f64_vec().unwrap());
        let largest = a.iter().fold(1.0f64, |largest, x| largest.max(x.abs()));
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            assert!((a - b).abs() <= tolerance * largest, "output {index}, element {at}: plain {a}, fast {b}");
        }
    }
}
