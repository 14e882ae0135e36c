//! Edits of a graph, collected first and applied at once.
//!
//! A rewrite looks at the graph and describes what should change; nothing moves under its feet. Applying sorts the nodes
//! topologically again, drops what nobody uses and verifies the result.

use std::collections::{BTreeSet, HashMap, HashSet};

use lissom_tensor::Weight;

use crate::graph::{constant_fact, unique};
use crate::verify::VerifyError;
use crate::{Attributes, Fact, Graph, Node, NodeReader, OpError, Operators, Value, ValueId, verify};

/// A set of edits for one graph.
#[derive(Debug)]
pub struct Patch {
    first_new: usize,
    taken_values: HashSet<String>,
    taken_nodes: HashSet<String>,
    values: Vec<Value>,
    constants: Vec<(ValueId, Weight)>,
    nodes: Vec<Node>,
    removed: BTreeSet<usize>,
    replaced: Vec<(ValueId, ValueId)>,
    opset: u32,
}

impl Patch {
    /// No edits yet. New nodes are read at `opset` of ONNX's own domain, and version 1 of any other.
    pub fn new(graph: &Graph, opset: u32) -> Self {
        Self {
            first_new: graph.values.len(),
            taken_values: graph.values.iter().map(|value| value.name.clone()).collect(),
            taken_nodes: graph.nodes.iter().map(|node| node.name.clone()).collect(),
            values: Vec::new(),
            constants: Vec::new(),
            nodes: Vec::new(),
            removed: BTreeSet::new(),
            replaced: Vec::new(),
            opset,
        }
    }

    /// True if nothing would change.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.removed.is_empty() && self.replaced.is_empty() && self.constants.is_empty()
    }

    /// The opset new nodes are written in.
    pub fn opset(&self) -> u32 {
        self.opset
    }

    /// A value that does not exist yet; the name is made unique.
    pub fn value(&mut self, name: &str, fact: Fact) -> ValueId {
        let name = unique(name, |candidate| self.taken_values.contains(candidate));
        self.taken_values.insert(name.clone());
        let id = ValueId((self.first_new + self.values.len()) as u32);
        self.values.push(Value { name, fact, declared: None });
        id
    }

    /// A new constant.
    pub fn constant(&mut self, name: &str, weight: Weight) -> ValueId {
        let id = self.value(name, constant_fact(&weight));
        self.constants.push((id, weight));
        id
    }

    /// Gives an existing constant another value.
    pub fn set_constant(&mut self, id: ValueId, weight: Weight) {
        self.constants.push((id, weight));
    }

    /// A new node with one new output, named after the node.
    ///
    /// # Errors
    /// [`OpError`] if the operator does not exist or refuses the attributes.
    pub fn node(
        &mut self,
        operators: &Operators,
        op_type: &str,
        name: &str,
        inputs: &[Option<ValueId>],
        attributes: Attributes,
    ) -> Result<ValueId, OpError> {
        let output = self.value(&format!("{name}_out"), Fact::unknown());
        self.node_into(operators, op_type, name, inputs, attributes, &[Some(output)])?;
        Ok(output)
    }

    /// A new node that makes the given outputs: new values, or values whose present maker is removed.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn node_into(
        &mut self,
        operators: &Operators,
        op_type: &str,
        name: &str,
        inputs: &[Option<ValueId>],
        attributes: Attributes,
        outputs: &[Option<ValueId>],
    ) -> Result<(), OpError> {
        let op = NodeReader::read_op(operators, "", op_type, self.opset, inputs, outputs, &attributes)?;
        let name = unique(name, |candidate| self.taken_nodes.contains(candidate));
        self.taken_nodes.insert(name.clone());
        self.nodes.push(Node {
            name,
            op_type: op_type.to_owned(),
            domain: String::new(),
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            captures: Vec::new(),
            opset: self.opset,
            attributes,
            op,
            declared: None,
        });
        Ok(())
    }

    /// Adds a node made elsewhere, e.g. a changed copy of an existing one.
    pub fn push_node(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// Takes the node at `index` of the graph out. Nodes nobody uses any more go by themselves.
    pub fn remove_node(&mut self, index: usize) {
        self.removed.insert(index);
    }

    /// Every use of `old`, graph outputs included, becomes a use of `new`. Uses by this patch's own nodes stay.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        self.replaced.push((old, new));
    }
}

impl Graph {
    /// Applies a patch, drops dead nodes and constants, sorts and verifies. Names of graph outputs are kept: where an
    /// output was replaced, the new value takes over its name.
    ///
    /// # Errors
    /// [`VerifyError`] if the result is not sound; the graph is then unchanged.
    pub fn apply(&mut self, patch: Patch) -> Result<(), VerifyError> {
        let mut graph = self.clone();
        graph.values.extend(patch.values);
        for (id, weight) in patch.constants {
            graph.set_constant(id, weight);
        }
        let mut kept: Vec<Node> = std::mem::take(&mut graph.nodes)
            .into_iter()
            .enumerate()
            .filter(|(index, _)| !patch.removed.contains(index))
            .map(|(_, node)| node)
            .collect();
        let new_name: HashMap<ValueId, ValueId> = patch.replaced.iter().copied().collect();
        let resolve = |id: ValueId| {
            let mut id = id;
            for _ in 0..=new_name.len() {
                match new_name.get(&id) {
                    Some(&next) => id = next,
                    None => break,
                }
            }
            id
        };
        for used in kept.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten().chain(&mut node.captures)) {
            *used = resolve(*used);
        }
        for index in 0..graph.outputs.len() {
            let (old, new) = (graph.outputs[index], resolve(graph.outputs[index]));
            if old != new {
                graph.rename_output(index, old, new);
            }
        }
        kept.extend(patch.nodes);
        graph.nodes = kept;
        graph.sort()?;
        graph.drop_dead();
        verify(&graph)?;
        *self = graph;
        Ok(())
    }

    /// An output keeps its public name although another value now stands there.
    fn rename_output(&mut self, index: usize, old: ValueId, new: ValueId) {
        let is_shared = self.outputs.contains(&new) || self.inputs.contains(&new) || self.constants.contains_key(&new);
        self.outputs[index] = new;
        if is_shared {
            return;
        }
        let freed = unique(&format!("{}_before", self.value(old).name), |name| self.find_value(name).is_some());
        let name = std::mem::replace(&mut self.values[old.index()].name, freed);
        self.values[new.index()].name = name;
        self.values[new.index()].declared = self.values[old.index()].declared.take();
    }

    /// Stable topological order: a node goes as soon as its inputs exist, otherwise the order stays.
    fn sort(&mut self) -> Result<(), VerifyError> {
        let mut ready: Vec<bool> = vec![false; self.values.len()];
        let sources = self.inputs.iter().chain(self.constants.keys()).chain(self.captures.iter().map(|(_, id)| id));
        for id in sources {
            ready[id.index()] = true;
        }
        let mut waiting = std::mem::take(&mut self.nodes);
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut later = Vec::new();
            for node in waiting {
                if node.uses().all(|used| ready[used.index()]) {
                    for output in node.outputs.iter().flatten() {
                        ready[output.index()] = true;
                    }
                    self.nodes.push(node);
                } else {
                    later.push(node);
                }
            }
            if later.len() == before {
                return Err(VerifyError::Cycle { node: later[0].name.clone() });
            }
            waiting = later;
        }
        Ok(())
    }

    /// Drops nodes and constants that no output depends on.
    pub fn drop_dead(&mut self) {
        let mut live = vec![false; self.values.len()];
        for output in &self.outputs {
            live[output.index()] = true;
        }
        let mut keep = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if node.outputs.iter().flatten().any(|output| live[output.index()]) {
                keep[index] = true;
                for used in node.uses() {
                    live[used.index()] = true;
                }
            }
        }
        let mut keep = keep.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(true));
        self.constants.retain(|id, _| live[id.index()]);
    }
}
