//! Edits of a graph, collected first and applied at once.
//!
//! A rewrite looks at the graph and describes what should change; nothing moves under its feet. Applying sorts the nodes
//! topologically again, drops what nobody uses and verifies the result.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use lissom_tensor::Weight;

use crate::graph::{Names, constant_fact};
use crate::verify::VerifyError;
use crate::{Attributes, Fact, Graph, Node, NodeReader, OpError, Operators, Value, ValueId, verify};

/// A set of edits for one graph.
#[derive(Debug)]
pub struct Patch {
    first_new: usize,
    value_names: Names,
    node_names: Names,
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
            value_names: Names::new(graph.values.iter().map(|value| value.name.as_str())),
            node_names: Names::new(graph.nodes.iter().map(|node| node.name.as_str())),
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
        let name = self.value_names.take(name);
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
        self.node_of(operators, ("", op_type), name, inputs, attributes, outputs)
    }

    /// As [`node_into`](Self::node_into), of an operator given by its domain and its name.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn node_of(
        &mut self,
        operators: &Operators,
        (domain, op_type): (&str, &str),
        name: &str,
        inputs: &[Option<ValueId>],
        attributes: Attributes,
        outputs: &[Option<ValueId>],
    ) -> Result<(), OpError> {
        let opset = if domain.is_empty() { self.opset } else { 1 };
        let op = NodeReader::read_op(operators, domain, op_type, opset, inputs, outputs, &attributes)?;
        let name = self.node_names.take(name);
        self.nodes.push(Node {
            name,
            op_type: op_type.to_owned(),
            domain: domain.to_owned(),
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            captures: Vec::new(),
            opset,
            attributes,
            op,
            declared: None,
        });
        Ok(())
    }

    /// The node added last.
    pub fn last_node(&self) -> Option<&Node> {
        self.nodes.last()
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

/// Where each replaced value ends, however long the chain; a chain that closes ends where it is entered.
fn resolve_all(replaced: &[(ValueId, ValueId)]) -> HashMap<ValueId, ValueId> {
    let next: HashMap<ValueId, ValueId> = replaced.iter().copied().collect();
    let mut resolved: HashMap<ValueId, ValueId> = HashMap::new();
    for &(start, _) in replaced {
        let mut chain = Vec::new();
        let mut on_chain = HashSet::new();
        let mut id = start;
        let end = loop {
            if let Some(&end) = resolved.get(&id) {
                break end;
            }
            match next.get(&id) {
                Some(&following) if on_chain.insert(id) => {
                    chain.push(id);
                    id = following;
                }
                _ => break id,
            }
        };
        resolved.extend(chain.into_iter().map(|id| (id, end)));
    }
    resolved
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
        let resolved = resolve_all(&patch.replaced);
        let resolve = |id: ValueId| resolved.get(&id).copied().unwrap_or(id);
        for used in kept.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten().chain(&mut node.captures)) {
            *used = resolve(*used);
        }
        graph.rename_outputs(resolve, patch.first_new);
        kept.extend(patch.nodes);
        graph.nodes = kept;
        graph.sort()?;
        graph.drop_dead();
        verify(&graph)?;
        *self = graph;
        Ok(())
    }

    /// Outputs keep their public names although other values now stand there.
    fn rename_outputs(&mut self, resolve: impl Fn(ValueId) -> ValueId, first_new: usize) {
        if self.outputs.iter().all(|&id| resolve(id) == id) {
            return;
        }
        let mut names = Names::new(self.values.iter().map(|value| value.name.as_str()));
        let inputs: HashSet<ValueId> = self.inputs.iter().copied().collect();
        let mut outputs: HashMap<ValueId, usize> = HashMap::new();
        for &id in &self.outputs {
            *outputs.entry(id).or_default() += 1;
        }
        for index in 0..self.outputs.len() {
            let (old, new) = (self.outputs[index], resolve(self.outputs[index]));
            if old == new {
                continue;
            }
            let n_new = outputs.entry(new).or_default();
            let is_old_constant = new.index() < first_new && self.constants.contains_key(&new);
            let is_shared = *n_new > 0 || inputs.contains(&new) || is_old_constant;
            *n_new += 1;
            outputs.entry(old).and_modify(|n_old| *n_old -= 1);
            self.outputs[index] = new;
            if !is_shared {
                let freed = names.take(&format!("{}_before", self.value(old).name));
                let name = std::mem::replace(&mut self.values[old.index()].name, freed);
                self.values[new.index()].name = name;
                self.values[new.index()].declared = self.values[old.index()].declared.take();
            }
        }
    }

    /// Stable topological order, as if the list were swept again and again, each sweep placing every node whose inputs
    /// exist by then.
    fn sort(&mut self) -> Result<(), VerifyError> {
        let producers = self.producers();
        let consumers = self.consumers();
        let mut is_source: Vec<bool> = vec![false; self.values.len()];
        let sources = self.inputs.iter().chain(self.constants.keys()).chain(self.captures.iter().map(|(_, id)| id));
        for id in sources {
            is_source[id.index()] = true;
        }
        // Values a node waits for; one that nobody makes is waited for in vain.
        let waits_for = |node: &Node| node.uses().filter(|id| !is_source[id.index()]).collect::<HashSet<_>>();
        let mut missing: Vec<usize> = self.nodes.iter().map(|node| waits_for(node).len()).collect();
        let ready = (0..self.nodes.len()).filter(|&index| missing[index] == 0);
        let mut queue: BinaryHeap<Reverse<(usize, usize)>> = ready.map(|index| Reverse((0, index))).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(Reverse((sweep, index))) = queue.pop() {
            order.push(index);
            let outputs: HashSet<ValueId> = self.nodes[index].outputs.iter().flatten().copied().collect();
            let made = outputs.iter().filter(|id| !is_source[id.index()] && producers.get(id) == Some(&index));
            for &user in made.filter_map(|id| consumers.get(id)).flatten() {
                missing[user] -= 1;
                if missing[user] == 0 {
                    // Popped in order of the sweeps, so this is the last of the user's inputs.
                    queue.push(Reverse((if user > index { sweep } else { sweep + 1 }, user)));
                }
            }
        }
        if order.len() < self.nodes.len() {
            let stuck = (0..self.nodes.len()).find(|&index| missing[index] > 0).unwrap_or(0);
            return Err(VerifyError::Cycle { node: self.nodes[stuck].name.clone() });
        }
        let mut nodes: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|index| nodes[index].take()).collect();
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
