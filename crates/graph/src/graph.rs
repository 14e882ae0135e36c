//! Nodes, values and constants.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lissom_onnx::{NodeProto, ValueInfoProto};
use lissom_tensor::{Tensor, Weight};

use crate::{Attributes, Fact, Op};

/// A value of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// Position in the arena, for side tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Something that flows along an edge.
#[derive(Debug, Clone)]
pub struct Value {
    /// Unique in the graph.
    pub name: String,
    /// What is known of it.
    pub fact: Fact,
    /// What the file declares, kept for what [`Fact`] does not hold (documentation, element types of sequences).
    pub(crate) declared: Option<Box<ValueInfoProto>>,
}

/// An operator applied to values.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique in the graph.
    pub name: String,
    /// ONNX's name of the operator.
    pub op_type: String,
    /// Empty for ONNX's own operators.
    pub domain: String,
    /// `None` is an input that is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// `None` is an output nobody asked for.
    pub outputs: Vec<Option<ValueId>>,
    /// Values of this graph that subgraphs of the node use, in the order of the subgraphs and of their captures.
    pub captures: Vec<ValueId>,
    /// Version of its domain's operator set the node is written in.
    pub opset: u32,
    /// As in the file.
    pub attributes: Attributes,
    /// What it does.
    pub op: Arc<dyn Op>,
    /// Documentation, metadata and whatever else the file says of the node.
    pub(crate) declared: Option<Box<NodeProto>>,
}

impl Node {
    /// Inputs that are given, captures included.
    pub fn uses(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().flatten().chain(&self.captures).copied()
    }

    /// The operator as its Rust type.
    pub fn op_as<T: Op>(&self) -> Option<&T> {
        self.op.as_any().downcast_ref()
    }

    /// The only output, if exactly one is asked for.
    pub fn output(&self) -> Option<ValueId> {
        match self.outputs[..] {
            [output] => output,
            _ => None,
        }
    }
}

/// A graph: nodes in topological order over an arena of values.
///
/// Invariants, checked by [`verify`](crate::verify()): names are unique; every used value is an input, a constant, a
/// capture or made by an earlier node, and by one only; node names are unique.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// As in the file.
    pub name: String,
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) constants: BTreeMap<ValueId, Weight>,
    /// Values of the surrounding graph: its name there, and the value here.
    pub(crate) captures: Vec<(String, ValueId)>,
    /// What the file says beyond this: documentation, metadata, quantization annotations.
    pub(crate) declared: Option<Box<lissom_onnx::GraphProto>>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Inputs in order. Values with a constant are not inputs.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Captured values: name in the surrounding graph, and the value here.
    pub fn captures(&self) -> &[(String, ValueId)] {
        &self.captures
    }

    /// All values of the arena, dead ones included.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// To change what is known of a value.
    pub fn fact_mut(&mut self, id: ValueId) -> &mut Fact {
        &mut self.values[id.index()].fact
    }

    /// Forgets what is known of a value a node makes, and what the file declares of it: inference finds it out anew.
    pub fn forget(&mut self, id: ValueId) {
        let value = &mut self.values[id.index()];
        (value.fact, value.declared) = (Fact::unknown(), None);
    }

    /// The value of this name.
    pub fn find_value(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|value| value.name == name).map(|index| ValueId(index as u32))
    }

    /// Position of the node of this name.
    pub fn find_node(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The constant a value holds, if it is one.
    pub fn constant(&self, id: ValueId) -> Option<&Weight> {
        self.constants.get(&id)
    }

    /// A constant that is held as plain values.
    pub fn dense_constant(&self, id: ValueId) -> Option<&Tensor> {
        match self.constants.get(&id) {
            Some(Weight::Dense(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// All constants.
    pub fn constants(&self) -> impl Iterator<Item = (ValueId, &Weight)> {
        self.constants.iter().map(|(&id, weight)| (id, weight))
    }

    /// Gives a constant another value or encoding; its fact follows.
    pub fn set_constant(&mut self, id: ValueId, weight: Weight) {
        self.values[id.index()].fact = constant_fact(&weight);
        self.constants.insert(id, weight);
    }

    /// Takes a constant out, to be held elsewhere; inference still knows its type and shape. Until it is set again the
    /// graph cannot be run or written.
    pub fn take_constant(&mut self, id: ValueId) -> Option<Weight> {
        let weight = self.constants.remove(&id)?;
        self.values[id.index()].fact = Fact::known(weight.dtype(), weight.shape());
        Some(weight)
    }

    /// A new value. The name is made unique by a suffix if it is taken.
    pub fn add_value(&mut self, name: &str, fact: Fact) -> ValueId {
        let name = self.unique_value_name(name);
        let id = ValueId(self.values.len() as u32);
        self.values.push(Value { name, fact, declared: None });
        id
    }

    /// A new constant. The name is made unique by a suffix if it is taken.
    pub fn add_constant(&mut self, name: &str, weight: Weight) -> ValueId {
        let id = self.add_value(name, constant_fact(&weight));
        self.constants.insert(id, weight);
        id
    }

    /// A new input at the end of the inputs.
    pub fn add_input(&mut self, name: &str, fact: Fact) -> ValueId {
        let id = self.add_value(name, fact);
        self.inputs.push(id);
        id
    }

    /// Makes a constant the last input, under its name; gives back what it held.
    pub fn constant_to_input(&mut self, id: ValueId) -> Option<Weight> {
        let weight = self.constants.remove(&id)?;
        self.values[id.index()].fact = Fact::known(weight.dtype(), weight.shape());
        self.inputs.push(id);
        Some(weight)
    }

    /// Makes these the outputs.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// Changes the type and shape of an input.
    pub fn set_input_fact(&mut self, index: usize, fact: Fact) {
        let id = self.inputs[index];
        self.values[id.index()].declared = None;
        self.values[id.index()].fact = fact;
    }

    /// A node at the end; its inputs must exist.
    pub fn push_node(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// Position of the node that makes each value.
    pub fn producers(&self) -> HashMap<ValueId, usize> {
        let mut producers = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            producers.extend(node.outputs.iter().flatten().map(|&output| (output, index)));
        }
        producers
    }

    /// Positions of the nodes that use each value, each node once; graph outputs are not uses.
    pub fn consumers(&self) -> HashMap<ValueId, Vec<usize>> {
        let mut consumers: HashMap<ValueId, Vec<usize>> = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for used in node.uses() {
                let users = consumers.entry(used).or_default();
                if users.last() != Some(&index) {
                    users.push(index);
                }
            }
        }
        consumers
    }

    pub(crate) fn drop_unused_constants(&mut self) {
        let uses = self.use_counts();
        self.constants.retain(|id, _| uses[id.index()] > 0);
    }

    /// Number of inputs and outputs that use each value.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.values.len()];
        for used in self.nodes.iter().flat_map(Node::uses).chain(self.outputs.iter().copied()) {
            counts[used.index()] += 1;
        }
        counts
    }

    /// `name`, or `name_1`, `name_2`, … if it is taken.
    pub fn unique_value_name(&self, name: &str) -> String {
        if !name.is_empty() && self.find_value(name).is_none() {
            return name.to_owned();
        }
        let taken: HashSet<&str> = self.values.iter().map(|value| value.name.as_str()).collect();
        unique(name, |candidate| taken.contains(candidate))
    }

    /// `name`, or `name_1`, `name_2`, … if another node has it.
    pub fn unique_node_name(&self, name: &str) -> String {
        let taken: HashSet<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        unique(name, |candidate| taken.contains(candidate))
    }
}

/// Names in use, and where to look for the next free one, so that many of one name do not take quadratic time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Names {
    pub(crate) fn new<'a>(taken: impl Iterator<Item = &'a str>) -> Self {
        Self { taken: taken.map(str::to_owned).collect(), next: HashMap::new() }
    }

    /// `name`, or `name_1`, `name_2`, … if it is taken; it is taken from now on.
    pub(crate) fn take(&mut self, name: &str) -> String {
        if !name.is_empty() && self.taken.insert(name.to_owned()) {
            return name.to_owned();
        }
        let next = self.next.entry(name.to_owned()).or_insert(1);
        loop {
            let candidate = format!("{name}_{next}");
            *next += 1;
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

pub(crate) fn unique(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !name.is_empty() && !is_taken(name) {
        return name.to_owned();
    }
    (1..).map(|i| format!("{name}_{i}")).find(|candidate| !is_taken(candidate)).unwrap_or_default()
}

/// Large constants are not copied into facts: only their type and shape are.
pub(crate) fn constant_fact(weight: &Weight) -> Fact {
    match weight {
        Weight::Dense(tensor) => Fact::constant(tensor),
        Weight::Affine(_) => Fact::known(weight.dtype(), weight.shape()),
    }
}
