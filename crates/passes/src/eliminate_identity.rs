//! Takes out nodes that give back their input: `Identity`, inference `Dropout`, and casts, reshapes, transposes and pads
//! that change nothing.

use std::collections::{HashMap, HashSet};

use lissom_graph::{Attribute, Graph, Model, Node, Patch, ValueId};

use crate::{PassError, PassSpec};

pub(crate) const SPEC: PassSpec = PassSpec {
    name: "eliminate_identity",
    summary: "take out nodes that give back their input",
    is_simplification: true,
    run,
};

fn run(model: &mut Model) -> Result<usize, PassError> {
    let graph = &model.graph;
    let mut patch = Patch::new(graph, model.opset());
    let mut n = 0;
    let outputs: HashSet<ValueId> = graph.outputs().iter().copied().collect();
    let mut public: HashSet<ValueId> = graph
        .inputs()
        .iter()
        .chain(graph.outputs())
        .chain(graph.captures().iter().map(|(_, id)| id))
        .copied()
        .collect();
    let mut sources: HashMap<ValueId, ValueId> = HashMap::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let Some((input, output)) = identity(graph, node) else { continue };
        let source = sources.get(&input).copied().unwrap_or(input);
        // Two public names cannot be one value: a node stays between them.
        if outputs.contains(&output) && (graph.constant(source).is_some() || !public.insert(source)) {
            continue;
        }
        sources.insert(output, source);
        patch.replace_uses(output, input);
        patch.remove_node(index);
        n += 1;
    }
    if n > 0 {
        model.graph.apply(patch)?;
    }
    Ok(n)
}

/// Input and output of a node that does nothing.
fn identity(graph: &Graph, node: &Node) -> Option<(ValueId, ValueId)> {
    if !node.domain.is_empty() {
        return None;
    }
    let input = (*node.inputs.first()?)?;
    let output = (*node.outputs.first()?)?;
    let only_first = node.outputs.iter().skip(1).all(Option::is_none);
    let does_nothing = match node.op_type.as_str() {
        "Identity" => true,
        // Training mode needs the third input; its mask output is the second.
        "Dropout" => only_first && node.inputs.get(2).copied().flatten().is_none(),
        "Cast" => {
            let to = graph.value(output).fact.dtype;
            to.is_some() && to == graph.value(input).fact.dtype
        }
        "Transpose" => is_sorted_perm(node),
        "Reshape" | "Flatten" | "Expand" | "Squeeze" | "Unsqueeze" => same_shape(graph, input, output),
        "Pad" => is_zero_pad(graph, node),
        _ => false,
    };
    does_nothing.then_some((input, output))
}

fn is_sorted_perm(node: &Node) -> bool {
    match node.attributes.get("perm") {
        Some(Attribute::Ints(perm)) => perm.iter().enumerate().all(|(axis, &from)| from == axis as i64),
        _ => false,
    }
}

/// Both shapes are known to be the same, symbol by symbol.
fn same_shape(graph: &Graph, input: ValueId, output: ValueId) -> bool {
    let shape = |id| graph.value(id).fact.shape.as_ref();
    matches!((shape(input), shape(output)), (Some(a), Some(b)) if a == b)
}

fn is_zero_pad(graph: &Graph, node: &Node) -> bool {
    let pads = match node.inputs.get(1).copied().flatten() {
        Some(id) => graph.dense_constant(id).and_then(|tensor| tensor.to_i64_vec().ok()),
        None => match node.attributes.get("pads") {
            Some(Attribute::Ints(pads)) => Some(pads.clone()),
            _ => None,
        },
    };
    pads.is_some_and(|pads| pads.iter().all(|&pad| pad == 0))
}
