//! Brings a model to a newer version of ONNX's operator set, because an encoding needs it: scales per channel exist since
//! 13, 4-bit weights and groups since 21.
//!
//! Only what changed its form between the versions is rewritten; the meaning stays. What cannot be said in the new version
//! is an error, never a guess.

use lissom_graph::{Attribute, Model, Node, NodeReader, Patch, ValueId, infer};
use lissom_tensor::{Tensor, Weight};

use crate::{PassError, fold_constants};

/// Attributes that became inputs: operator, since which opset, attribute, position of the input, scalar or vector.
const MOVED: &[(&str, u32, &str, usize)] = &[
    ("Squeeze", 13, "axes", 1),
    ("Unsqueeze", 13, "axes", 1),
    ("Split", 13, "split", 1),
    ("ReduceSum", 13, "axes", 1),
    ("ReduceL1", 18, "axes", 1),
    ("ReduceL2", 18, "axes", 1),
    ("ReduceLogSum", 18, "axes", 1),
    ("ReduceLogSumExp", 18, "axes", 1),
    ("ReduceMax", 18, "axes", 1),
    ("ReduceMean", 18, "axes", 1),
    ("ReduceMin", 18, "axes", 1),
    ("ReduceProd", 18, "axes", 1),
    ("ReduceSumSquare", 18, "axes", 1),
    ("Pad", 11, "pads", 1),
    ("Pad", 11, "value", 2),
    ("Clip", 11, "min", 1),
    ("Clip", 11, "max", 2),
    ("Slice", 10, "starts", 1),
    ("Slice", 10, "ends", 2),
    ("Slice", 10, "axes", 3),
    ("TopK", 10, "k", 1),
    ("Dropout", 12, "ratio", 1),
];

/// Operators whose form or defaults changed in a way this pass does not translate: from which opset on, and what changed.
const CHANGED: &[(&str, u32, &str)] = &[
    ("Upsample", 10, "was replaced by Resize"),
    ("Resize", 11, "coordinate modes became explicit"),
    ("Scatter", 11, "was replaced by ScatterElements"),
    ("Loop", 13, "subgraphs are not rewritten"),
    ("If", 13, "subgraphs are not rewritten"),
    ("Scan", 9, "its batch axis went"),
    ("GroupNormalization", 21, "scales became per channel"),
];

/// Operators that flatten to two axes at `axis` before opset 13, default 1, and work along one axis after, default −1.
const FLATTENING: &[&str] = &["Softmax", "LogSoftmax", "Hardmax"];

/// Brings the model to opset `to` if it is older.
///
/// # Errors
/// [`PassError::Upgrade`] naming the node that cannot be brought along; the model is then unchanged.
pub fn upgrade_opset(model: &mut Model, to: u32) -> Result<bool, PassError> {
    let from = model.opset();
    if from >= to {
        return Ok(false);
    }
    let mut upgraded = model.clone();
    // `Constant` nodes become initializers, so what was moved to inputs can be, too.
    (fold_constants::SPEC.run)(&mut upgraded)?;
    let mut patch = Patch::new(&upgraded.graph, to);
    for (index, node) in upgraded.graph.nodes().iter().enumerate() {
        let mut node = node.clone();
        if node.domain.is_empty() {
            upgrade_node(&upgraded, &mut node, &mut patch, from, to)?;
        }
        patch.remove_node(index);
        patch.push_node(node);
    }
    upgraded.graph.apply(patch)?;
    upgraded.set_opset(to);
    infer(&mut upgraded.graph)?;
    *model = upgraded;
    Ok(true)
}

fn upgrade_node(model: &Model, node: &mut Node, patch: &mut Patch, from: u32, to: u32) -> Result<(), PassError> {
    let (name, op_type) = (node.name.clone(), node.op_type.clone());
    let refuse = |reason: &str| PassError::Upgrade {
        node: name.clone(),
        op: op_type.clone(),
        from,
        to,
        reason: reason.to_owned(),
    };
    let crosses = |since: u32| from < since && since <= to;
    if let Some((_, _, reason)) = CHANGED.iter().find(|(op, since, _)| *op == node.op_type && crosses(*since)) {
        return Err(refuse(reason));
    }
    if node.attributes.graphs().next().is_some() {
        return Err(refuse("subgraphs are not rewritten"));
    }
    if FLATTENING.contains(&node.op_type.as_str()) && crosses(13) {
        let rank = node.inputs[0].and_then(|id| model.graph.value(id).fact.rank());
        let axis = match node.attributes.get("axis") {
            Some(Attribute::Int(axis)) => *axis,
            _ => 1,
        };
        let is_last = rank.is_some_and(|rank| axis == -1 || axis == rank as i64 - 1);
        if !is_last {
            return Err(refuse("before opset 13 it flattens all axes from `axis` on, which are more than one here"));
        }
        node.attributes.set("axis", -1i64);
    }
    if node.op_type == "BatchNormalization" && crosses(14) && node.outputs.iter().skip(1).any(Option::is_some) {
        return Err(refuse("its training outputs changed"));
    }
    if node.op_type == "Split" && crosses(18) && node.inputs.len() < 2 && node.attributes.get("split").is_none() {
        node.attributes.set("num_outputs", node.outputs.len() as i64);
    }
    for &(op, since, attribute, input) in MOVED {
        if op == node.op_type
            && crosses(since)
            && let Some(value) = node.attributes.remove(attribute)
        {
            let tensor = as_tensor(op, value).ok_or_else(|| refuse("an attribute has an unexpected kind"))?;
            let id = patch.constant(&format!("{}_{attribute}", node.name), Weight::Dense(tensor));
            set_input(node, input, id);
        }
    }
    node.attributes.remove("consumed_inputs");
    if crosses(14) {
        node.attributes.remove("spatial");
    }
    node.opset = to;
    node.op = NodeReader::read_op(
        &model.operators,
        &node.domain,
        &node.op_type,
        to,
        &node.inputs,
        &node.outputs,
        &node.attributes,
    )
    .map_err(|error| refuse(&error.to_string()))?;
    Ok(())
}

fn as_tensor(op: &str, value: Attribute) -> Option<Tensor> {
    Some(match value {
        Attribute::Ints(values) => Tensor::vector(values),
        // `k` of TopK is a vector of one, the bounds of Clip are scalars.
        Attribute::Int(value) if op == "TopK" => Tensor::vector(vec![value]),
        Attribute::Int(value) => Tensor::scalar(value),
        Attribute::Float(value) => Tensor::scalar(value),
        _ => return None,
    })
}

fn set_input(node: &mut Node, input: usize, id: ValueId) {
    node.inputs.resize(node.inputs.len().max(input + 1), None);
    node.inputs[input] = Some(id);
}
