//! Constants are computed once, when a session is made.

use std::collections::HashMap;

use lissom_graph::{Graph, Inputs, Node, Patch, ValueId};
use lissom_tensor::{Tensor, Weight};

/// Elements up to which the result of a node over constants is kept.
const MAX_FOLDED: usize = 1 << 27;

/// Replaces nodes whose inputs are all constants by their results. What cannot be computed stays.
pub(crate) fn fold_constants(graph: &mut Graph) {
    let mut known: HashMap<ValueId, Tensor> = HashMap::new();
    let mut patch = Patch::new(graph, 1);
    for (index, node) in graph.nodes().iter().enumerate() {
        let Some(results) = results(graph, node, &known) else { continue };
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

fn results(graph: &Graph, node: &Node, known: &HashMap<ValueId, Tensor>) -> Option<Vec<Tensor>> {
    let is_pure = node.op.is_deterministic() && node.captures.is_empty() && node.attributes.graphs().next().is_none();
    let is_small = node.outputs.iter().flatten().all(|id| {
        graph.value(*id).fact.known_shape().is_some_and(|shape| {
            shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n)).is_some_and(|len| len <= MAX_FOLDED)
        })
    });
    if !is_pure || !is_small {
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
    (results.len() >= wanted).then_some(results)
}
