//! Constants are computed once, when a session is made.

use std::collections::HashMap;

use lissom_graph::{Graph, Inputs, Node, Patch, ValueId};
use lissom_tensor::{Tensor, Weight};

/// Elements that results may have in all beyond those of the graph's own constants: a few bytes of a hostile file can ask
/// for any number of zeros.
const MAX_GROWTH: usize = 1 << 23;

/// Replaces nodes whose inputs are all constants by their results. What cannot be computed stays.
pub(crate) fn fold_constants(graph: &mut Graph) {
    let mut known: HashMap<ValueId, Tensor> = HashMap::new();
    let mut patch = Patch::new(graph, 1);
    let mut left = graph.constants().map(|(_, weight)| weight.len()).fold(MAX_GROWTH, usize::saturating_add);
    for (index, node) in graph.nodes().iter().enumerate() {
        let Some(results) = results(graph, node, &known, &mut left) else { continue };
        patch.remove_node(index);
        for (id, result) in node.outputs.iter().zip(results) {
            if let Some(id) = id {
                patch.set_constant(*id, Weight::Dense(result.clone()));
                known.insert(*id, result);
            }
        }
    }
    if !patch.is_empty() {
        // A graph that would not be sound afterwards is left as it is; it runs all the same.
        let _ = graph.apply(patch);
    }
}

/// The results of a node over constants, if they fit in what is `left` of the budget.
fn results(graph: &Graph, node: &Node, known: &HashMap<ValueId, Tensor>, left: &mut usize) -> Option<Vec<Tensor>> {
    let is_pure = node.op.is_deterministic() && node.captures.is_empty() && node.attributes.graphs().next().is_none();
    let len = |id: &ValueId| graph.value(*id).fact.known_shape()?.iter().try_fold(1usize, |len, &n| len.checked_mul(n));
    let needed = node.outputs.iter().flatten().try_fold(0usize, |sum, id| sum.checked_add(len(id)?))?;
    if !is_pure || needed > *left {
        return None;
    }
    let constant =
        |id: ValueId| known.get(&id).cloned().or_else(|| graph.constant(id).and_then(|weight| weight.decode().ok()));
    let is_constant = |id: &ValueId| known.contains_key(id) || graph.constant(*id).is_some();
    if !node.inputs.iter().flatten().all(is_constant) {
        return None;
    }
    let inputs: Option<Vec<_>> =
        node.inputs.iter().map(|id| id.map_or(Some(None), |id| constant(id).map(Some))).collect();
    let inputs = inputs?;
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let results = node.op.evaluate(&Inputs(&inputs)).ok()?;
    let wanted = node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    if results.len() < wanted {
        return None;
    }
    *left -= needed;
    Some(results)
}
