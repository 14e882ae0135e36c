//! Moves padding with zeros into the convolution after it.
//!
//! Exporters of networks trained with other frameworks pad in a node of its own. Between a quantized tensor and a
//! convolution such a node breaks the chain of integers.

use lissom_graph::{Attribute, Graph, Model, Node, NodeReader, Patch};

use crate::{PassError, PassSpec};

pub(crate) const SPEC: PassSpec = PassSpec {
    name: "fold_pad",
    summary: "move padding with zeros into the convolution after it",
    is_simplification: true,
    run,
};

fn run(model: &mut Model) -> Result<usize, PassError> {
    let graph = &model.graph;
    let producers = graph.producers();
    let uses = graph.use_counts();
    let mut patch = Patch::new(graph, model.opset());
    let mut n = 0;
    for (index, conv) in graph.nodes().iter().enumerate() {
        if conv.op_type != "Conv" || !conv.domain.is_empty() {
            continue;
        }
        let Some(padded) = conv.inputs.first().copied().flatten() else { continue };
        let Some(&pad_index) = producers.get(&padded) else { continue };
        let pad = &graph.nodes()[pad_index];
        let (Some(amounts), 1) = (zero_padding(graph, pad), uses[padded.index()]) else { continue };
        let Some(pads) = joined(conv, &amounts) else { continue };
        let mut conv = conv.clone();
        conv.inputs[0] = pad.inputs[0];
        conv.attributes.set("pads", pads);
        conv.op = NodeReader::read_op(
            &model.operators,
            &conv.domain,
            &conv.op_type,
            conv.opset,
            &conv.inputs,
            &conv.outputs,
            &conv.attributes,
        )?;
        patch.remove_node(index);
        patch.remove_node(pad_index);
        patch.push_node(conv);
        n += 1;
    }
    if n > 0 {
        model.graph.apply(patch)?;
    }
    Ok(n)
}

/// Amounts before and after each axis, if the node pads with constant zeros and names all axes.
fn zero_padding(graph: &Graph, pad: &Node) -> Option<Vec<i64>> {
    let is_constant_mode = match pad.attributes.get("mode") {
        None => true,
        Some(Attribute::Str(mode)) => mode == "constant",
        Some(_) => false,
    };
    let input = |index: usize| pad.inputs.get(index).copied().flatten();
    if pad.op_type != "Pad" || !pad.domain.is_empty() || !is_constant_mode || input(3).is_some() {
        return None;
    }
    let is_zero = match (input(2), pad.attributes.get("value")) {
        (Some(value), _) => graph.dense_constant(value)?.to_f64().ok()? == 0.0,
        (None, Some(Attribute::Float(value))) => *value == 0.0,
        (None, None) => true,
        (None, Some(_)) => false,
    };
    let amounts = match (input(1), pad.attributes.get("pads")) {
        (Some(amounts), _) => graph.dense_constant(amounts)?.to_i64_vec().ok()?,
        (None, Some(Attribute::Ints(amounts))) => amounts.clone(),
        _ => return None,
    };
    (is_zero && amounts.iter().all(|&amount| amount >= 0)).then_some(amounts)
}

/// The convolution's padding with these amounts added; nothing if batch or channels are padded or the convolution
/// chooses its padding by itself.
fn joined(conv: &Node, amounts: &[i64]) -> Option<Vec<i64>> {
    let chooses = match conv.attributes.get("auto_pad") {
        None => false,
        Some(Attribute::Str(how)) => how != "NOTSET",
        Some(_) => true,
    };
    let rank = amounts.len() / 2;
    if chooses || rank < 3 || !amounts.len().is_multiple_of(2) {
        return None;
    }
    let (before, after) = amounts.split_at(rank);
    if before[..2].iter().chain(&after[..2]).any(|&amount| amount != 0) {
        return None;
    }
    let own = match conv.attributes.get("pads") {
        Some(Attribute::Ints(own)) => own.clone(),
        _ => vec![0; 2 * (rank - 2)],
    };
    let added: Vec<i64> = before[2..].iter().chain(&after[2..]).copied().collect();
    (own.len() == added.len())
        .then(|| own.iter().zip(&added).map(|(own, added)| own.checked_add(*added)).collect())
        .flatten()
}
