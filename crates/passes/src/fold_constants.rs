//! Computes what does not depend on the inputs: `Constant` nodes, shape arithmetic, arithmetic on weights.

use lissom_graph::{Fact, Graph, Inputs, Model, Node, Patch, ValueId};
use lissom_tensor::{Tensor, Weight};

use crate::{PassError, PassSpec};

pub(crate) const SPEC: PassSpec = PassSpec {
    name: "fold_constants",
    summary: "compute what does not depend on the inputs",
    is_simplification: true,
    run,
};

/// A folded result may be this much larger than everything it was computed from: `Expand` of a scalar to a huge tensor
/// stays in the graph.
const MAX_GROWTH_BYTES: u64 = 1 << 20;

/// All results that are computed in a run together may be as large as all constants, and this much larger: a long chain
/// of results that each grow a little adds up. Several runs may get further.
const MAX_SWEEP_BYTES: u64 = 32 << 20;

fn run(model: &mut Model) -> Result<usize, PassError> {
    let patch = fold_once(model);
    if patch.is_empty() {
        return Ok(0);
    }
    model.graph.apply(patch)?;
    Ok(1)
}

/// One sweep; results of this sweep feed later nodes of the same sweep.
fn fold_once(model: &Model) -> Patch {
    let graph = &model.graph;
    let mut patch = Patch::new(graph, model.opset());
    let mut known: Vec<Option<Tensor>> = vec![None; graph.values().len()];
    for (id, weight) in graph.constants() {
        if let Weight::Dense(tensor) = weight {
            known[id.index()] = Some(tensor.clone());
        }
    }
    let constant_bits: u64 = graph.constants().map(|(_, weight)| weight.bits()).sum();
    let mut left_bits = constant_bits.saturating_add(8 * MAX_SWEEP_BYTES);
    for (index, node) in graph.nodes().iter().enumerate() {
        let Some(values) = fold_node(graph, node, &known, &mut left_bits) else { continue };
        let outputs: Vec<(ValueId, Tensor)> =
            node.outputs.iter().zip(values).filter_map(|(id, value)| Some(((*id)?, value))).collect();
        for (id, value) in outputs {
            // The value itself becomes the constant and keeps its name.
            patch.set_constant(id, Weight::Dense(value.clone()));
            known[id.index()] = Some(value);
        }
        patch.remove_node(index);
    }
    patch
}

fn fold_node(graph: &Graph, node: &Node, known: &[Option<Tensor>], left_bits: &mut u64) -> Option<Vec<Tensor>> {
    if !node.op.is_deterministic() {
        return None;
    }
    let from_facts: Option<Vec<Tensor>> = node
        .outputs
        .iter()
        .map(|id| match id {
            Some(id) => graph.value(*id).fact.tensor().cloned(),
            None => Some(Tensor::empty_sequence()),
        })
        .collect();
    if let Some(values) = from_facts.filter(|values| !values.is_empty()) {
        return Some(values);
    }
    if !node.captures.is_empty() || node.attributes.graphs().next().is_some() {
        return None;
    }
    let inputs: Option<Vec<Option<&Tensor>>> = node
        .inputs
        .iter()
        .map(|id| match id {
            None => Some(None),
            Some(id) => known[id.index()].as_ref().map(Some),
        })
        .collect();
    let inputs = inputs?;
    let input_bits: u64 = inputs.iter().flatten().map(|tensor| tensor.bits()).sum();
    let limit_bits = input_bits.saturating_add(8 * MAX_GROWTH_BYTES).min(*left_bits);
    if predicted_bits(graph, node) > limit_bits {
        return None;
    }
    // A node that refuses its constants is left for the run to report, with its place.
    let values = node.op.evaluate(&Inputs(&inputs)).ok()?;
    let bits: u64 = values.iter().map(Tensor::bits).sum();
    if values.len() < node.outputs.len() || bits > limit_bits {
        return None;
    }
    *left_bits -= bits;
    Some(values)
}

fn predicted_bits(graph: &Graph, node: &Node) -> u64 {
    let bits = |fact: &Fact| {
        let len = fact.known_shape()?.iter().try_fold(1u64, |len, &dim| len.checked_mul(dim as u64))?;
        len.checked_mul(fact.dtype?.bits() as u64)
    };
    node.outputs.iter().flatten().filter_map(|id| bits(&graph.value(*id).fact)).fold(0, u64::saturating_add)
}
