//! Computing cheap forward values again in the backward part, so that they need not be kept until then.

use std::collections::{HashMap, HashSet};

use lissom_graph::{Fact, Facts, Graph, Node, Patch, ValueId, VerifyError};

/// Which forward values are computed again when the backward part needs them.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// None: all are kept.
    #[default]
    Nothing,
    /// All but products (convolutions, matrix products, attention).
    Cheap,
    /// Those made by these nodes.
    Nodes(Vec<String>),
}

impl Recompute {
    fn selects(&self, graph: &Graph, node: &Node) -> bool {
        let is_possible = node.op.is_deterministic() && node.captures.is_empty();
        is_possible
            && match self {
                Self::Nothing => false,
                Self::Cheap => !is_product(graph, node),
                Self::Nodes(names) => names.contains(&node.name),
            }
    }
}

/// Whether a node multiplies and adds along an axis; lengths that are not known count as 1.
fn is_product(graph: &Graph, node: &Node) -> bool {
    let shape = |id: ValueId| -> Option<Vec<usize>> {
        let shape = graph.value(id).fact.shape.as_ref()?;
        Some(shape.iter().map(|length| length.known().unwrap_or(1).max(1)).collect())
    };
    let inputs: Vec<Option<Vec<usize>>> = node.inputs.iter().map(|id| id.and_then(shape)).collect();
    let outputs: Vec<Vec<usize>> = node.outputs.iter().map(|id| id.and_then(shape).unwrap_or_default()).collect();
    let facts: Vec<Option<&Fact>> = node.inputs.iter().map(|id| id.map(|id| &graph.value(id).fact)).collect();
    node.op.macs(&inputs, &outputs) > 0 || node.op.weight_axes(&Facts(&facts)).is_some()
}

/// Rewrites the nodes that are not in `forward` (by name): they use copies of what `recompute` selects, made where the first
/// of them needs it, and no longer ask for outputs that nobody uses. Gives back how many nodes were copied.
///
/// # Errors
/// [`VerifyError`] if the graph was not sound.
pub fn recompute(graph: &mut Graph, forward: &HashSet<String>, which: &Recompute) -> Result<usize, VerifyError> {
    let uses = graph.use_counts();
    let mut patch = Patch::new(graph, crate::nodes::OPSET);
    let mut copies = Copies { graph, forward, which, producers: graph.producers(), of: HashMap::new(), n_nodes: 0 };
    for (index, node) in graph.nodes().iter().enumerate().filter(|(_, node)| !forward.contains(&node.name)) {
        let mut node = node.clone();
        for input in node.inputs.iter_mut().flatten() {
            *input = copies.of(*input, &mut patch);
        }
        for output in &mut node.outputs {
            *output = output.filter(|id| uses[id.index()] > 0);
        }
        patch.remove_node(index);
        patch.push_node(node);
    }
    let n_nodes = copies.n_nodes;
    graph.apply(patch)?;
    Ok(n_nodes)
}

struct Copies<'a> {
    graph: &'a Graph,
    forward: &'a HashSet<String>,
    which: &'a Recompute,
    producers: HashMap<ValueId, usize>,
    /// The copy of each value that was copied.
    of: HashMap<ValueId, ValueId>,
    n_nodes: usize,
}

impl Copies<'_> {
    /// The node that makes a value, if it is to be copied.
    fn selected(&self, value: ValueId) -> Option<usize> {
        let index = *self.producers.get(&value)?;
        let node = &self.graph.nodes()[index];
        (self.forward.contains(&node.name) && self.which.selects(self.graph, node)).then_some(index)
    }

    /// The copy of a value, or the value itself if it is kept.
    fn of(&mut self, value: ValueId, patch: &mut Patch) -> ValueId {
        // A list rather than recursion: chains are as long as the file says.
        let mut waiting = vec![value];
        while let Some(&next) = waiting.last() {
            let index = if self.of.contains_key(&next) { None } else { self.selected(next) };
            let Some(index) = index else {
                waiting.pop();
                continue;
            };
            let node = &self.graph.nodes()[index];
            let before = waiting.len();
            let missing = |id: &ValueId| !self.of.contains_key(id) && self.selected(*id).is_some();
            waiting.extend(node.inputs.iter().flatten().copied().filter(missing));
            if waiting.len() == before {
                self.copy(node, patch);
                waiting.pop();
            }
        }
        self.of.get(&value).copied().unwrap_or(value)
    }

    fn copy(&mut self, node: &Node, patch: &mut Patch) {
        let mut copy = node.clone();
        copy.name = self.graph.unique_node_name(&format!("{}_again", node.name));
        for input in copy.inputs.iter_mut().flatten() {
            *input = self.of.get(input).copied().unwrap_or(*input);
        }
        for output in copy.outputs.iter_mut().flatten() {
            let value = self.graph.value(*output);
            let again = patch.value(&format!("{}_again", value.name), value.fact.clone());
            self.of.insert(*output, again);
            *output = again;
        }
        patch.push_node(copy);
        self.n_nodes += 1;
    }
}
