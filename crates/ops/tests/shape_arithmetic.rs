//! What exporters compute from shapes stays known while the batch is a symbol.

use lissom_graph::{Attribute, Attributes, Dim, Fact, Graph, Patch, ValueId, infer};
use lissom_ops::OPERATORS;
use lissom_tensor::{DType, Tensor, Weight};

const OPSET: u32 = 17;

/// A graph of one f32 input under construction.
struct Builder {
    graph: Graph,
    patch: Patch,
    x: ValueId,
    y: ValueId,
}

impl Builder {
    /// An input of these lengths; what is not a number is a symbol.
    fn new(lengths: &[&str]) -> Self {
        let mut graph = Graph::new("test");
        let dim = |text: &&str| text.parse().map_or_else(|_| Dim::symbol(text), Dim::Known);
        let x = graph.add_input("x", Fact::new(DType::F32, lengths.iter().map(dim).collect()));
        let y = graph.add_value("y", Fact::unknown());
        graph.set_outputs(vec![y]);
        Self { patch: Patch::new(&graph, OPSET), graph, x, y }
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.patch.constant("c", Weight::Dense(Tensor::vector(values.to_vec())))
    }

    fn int(&mut self, value: i64) -> ValueId {
        self.patch.constant("c", Weight::Dense(Tensor::scalar(value)))
    }

    fn node(&mut self, op_type: &str, inputs: &[ValueId]) -> ValueId {
        self.node_with(op_type, inputs, Attributes::new())
    }

    fn node_with(&mut self, op_type: &str, inputs: &[ValueId], attributes: Attributes) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.patch.node(&OPERATORS, op_type, op_type, &inputs, attributes).unwrap()
    }

    fn with(&mut self, op_type: &str, inputs: &[ValueId], name: &str, value: impl Into<Attribute>) -> ValueId {
        self.node_with(op_type, inputs, Attributes::new().with(name, value))
    }

    /// The length of one axis of `x`, as a scalar.
    fn length(&mut self, axis: i64) -> ValueId {
        let (x, axis) = (self.x, self.int(axis));
        let shape = self.node("Shape", &[x]);
        self.node("Gather", &[shape, axis])
    }

    /// A scalar as a vector of one.
    fn vector(&mut self, scalar: ValueId) -> ValueId {
        let zero = self.ints(&[0]);
        self.node("Unsqueeze", &[scalar, zero])
    }

    /// What inference knows of `last`.
    fn infer(mut self, last: ValueId) -> Fact {
        let y = self.y;
        self.patch.node_into(&OPERATORS, "Identity", "last", &[Some(last)], Attributes::new(), &[Some(y)]).unwrap();
        self.graph.apply(self.patch).unwrap();
        infer(&mut self.graph).unwrap();
        self.graph.value(y).fact.clone()
    }
}

fn shape(fact: &Fact) -> String {
    fact.to_string()
}

#[test]
fn pads_that_torch_computes_from_a_list_are_known() {
    // Pads for the last two axes as Python has them; torch fills the rest with zeros and turns their order round.
    let mut b = Builder::new(&["batch", "3", "224", "224"]);
    let given = b.ints(&[1, 2, 3, 4]);
    let (rank, two) = (b.int(4), b.int(2));
    let shape_of_given = b.node("Shape", &[given]);
    let zero = b.int(0);
    let n_given = b.node("Gather", &[shape_of_given, zero]);
    let n_pads = b.node("Mul", &[rank, two]);
    let missing = b.node("Sub", &[n_pads, n_given]);
    let missing = b.with("Cast", &[missing], "to", 7i64);
    let missing = b.vector(missing);
    let zeros = b.with("ConstantOfShape", &[missing], "value", Tensor::vector(vec![0i64]));
    let all = b.with("Concat", &[given, zeros], "axis", 0i64);
    let pairs = b.ints(&[-1, 2]);
    let all = b.node("Reshape", &[all, pairs]);
    let (minus_one, lowest, axis) = (b.ints(&[-1]), b.ints(&[i64::MIN + 1]), b.ints(&[0]));
    let all = b.node("Slice", &[all, minus_one, lowest, axis, minus_one]);
    let all = b.with("Transpose", &[all], "perm", vec![1i64, 0]);
    let all = b.node("Reshape", &[all, minus_one]);
    let pads = b.with("Cast", &[all], "to", 7i64);
    let x = b.x;
    let padded = b.node("Pad", &[x, pads]);
    assert_eq!(shape(&b.infer(padded)), "f32[batch,3,231,227]");
}

#[test]
fn pads_computed_from_known_lengths_are_known_though_the_batch_is_not() {
    // "Same" padding of a stride of 2, computed at run time: (⌈n/2⌉ − 1) · 2 + 3 − n.
    let mut b = Builder::new(&["batch", "3", "32", "32"]);
    let (one, two, three) = (b.int(1), b.int(2), b.int(3));
    let height = b.length(2);
    let up = b.node("Add", &[height, one]);
    let out = b.node("Div", &[up, two]);
    let out = b.node("Sub", &[out, one]);
    let reach = b.node("Mul", &[out, two]);
    let reach = b.node("Add", &[reach, three]);
    let total = b.node("Sub", &[reach, height]);
    let zero = b.int(0);
    let total = b.node("Max", &[total, zero]);
    let total = b.vector(total);
    let (before, zeros) = (b.ints(&[0, 0, 0, 0]), b.ints(&[0, 0]));
    let pads = b.with("Concat", &[before, zeros, total, total], "axis", 0i64);
    let x = b.x;
    let padded = b.node("Pad", &[x, pads]);
    assert_eq!(shape(&b.infer(padded)), "f32[batch,3,33,33]");
}

#[test]
fn a_length_of_the_batch_goes_through_the_whole_arithmetic() {
    let mut b = Builder::new(&["N", "12", "64"]);
    let x = b.x;
    let all = b.node("Shape", &[x]);
    let all = b.with("Cast", &[all], "to", 6i64);
    let (zero, one) = (b.ints(&[0]), b.ints(&[1]));
    let batch = b.node("Slice", &[all, zero, one]);
    let batch = b.with("Cast", &[batch], "to", 7i64);
    let batch = b.node("Squeeze", &[batch, zero]);
    let twelve = b.int(12);
    let many = b.node("Mul", &[batch, twelve]);
    let again = b.node("Div", &[many, twelve]);
    let nothing = b.int(0);
    let again = b.node("Add", &[again, nothing]);
    let again = b.vector(again);
    let minus_one = b.ints(&[-1]);
    let again = b.node("Reshape", &[again, minus_one]);
    let rest = b.ints(&[3, 4, -1]);
    let to = b.with("Concat", &[again, rest], "axis", 0i64);
    let reshaped = b.node("Reshape", &[x, to]);
    assert_eq!(shape(&b.infer(reshaped)), "f32[N,3,4,64]");
}

#[test]
fn heads_are_split_and_joined_again() {
    let mut b = Builder::new(&["batch", "seq", "384"]);
    let (batch, length) = (b.length(0), b.length(1));
    let (batch, length) = (b.vector(batch), b.vector(length));
    let heads = b.ints(&[12, 32]);
    let split = b.with("Concat", &[batch, length, heads], "axis", 0i64);
    let x = b.x;
    let x = b.node("Reshape", &[x, split]);
    let x = b.with("Transpose", &[x], "perm", vec![0i64, 2, 1, 3]);
    let x = b.with("Transpose", &[x], "perm", vec![0i64, 2, 1, 3]);
    let rest = b.ints(&[-1]);
    let joined = b.with("Concat", &[batch, length, rest], "axis", 0i64);
    let x = b.node("Reshape", &[x, joined]);
    assert_eq!(shape(&b.infer(x)), "f32[batch,seq,384]");
}

#[test]
fn expanding_to_a_shape_with_minus_ones_keeps_the_batch() {
    // torch's `expand`: where the wanted length is −1, a one is put, which broadcasting leaves alone.
    let mut b = Builder::new(&["N", "1"]);
    let batch = b.length(0);
    let batch = b.vector(batch);
    let seven = b.ints(&[7]);
    let wanted = b.with("Concat", &[batch, seven], "axis", 0i64);
    let two = b.ints(&[2]);
    let ones = b.with("ConstantOfShape", &[two], "value", Tensor::vector(vec![1i64]));
    let minus_one = b.int(-1);
    let minus_ones = b.node("Mul", &[ones, minus_one]);
    let is_open = b.node("Equal", &[wanted, minus_ones]);
    let shape_to = b.node("Where", &[is_open, ones, wanted]);
    let x = b.x;
    let x = b.node("Expand", &[x, shape_to]);
    assert_eq!(shape(&b.infer(x)), "f32[N,7]");
}

#[test]
fn a_range_of_symbolic_length_has_it() {
    let mut b = Builder::new(&["N", "seq"]);
    let length = b.length(1);
    let (zero, one) = (b.int(0), b.int(1));
    let range = b.node("Range", &[zero, length, one]);
    assert_eq!(shape(&b.infer(range)), "i64[seq]");
}

#[test]
fn the_size_of_a_tensor_divides_by_its_own_lengths() {
    let mut b = Builder::new(&["N", "3", "4"]);
    let x = b.x;
    let size = b.node("Size", &[x]);
    let batch = b.length(0);
    let rest = b.node("Div", &[size, batch]);
    let rest = b.vector(rest);
    let flat = b.ints(&[-1]);
    let to = b.with("Concat", &[flat, rest], "axis", 0i64);
    let x = b.node("Reshape", &[x, to]);
    assert_eq!(shape(&b.infer(x)), "f32[N,12]");
}
