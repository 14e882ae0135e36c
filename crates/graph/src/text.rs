//! A graph as text, for people and for snapshot tests.

use std::fmt::Write;

use crate::{Attribute, Graph, Node, ValueId};

/// One line a node, in order: outputs with their facts, operator, inputs, attributes. Constants are marked with `%` and
/// show their encoding.
///
/// ```text
/// graph net(x: f32[N,2]) -> (y)
///   %w: f32[2,3]
///   y: f32[N,3] = MatMul(x, %w)
/// ```
pub fn to_text(graph: &Graph) -> String {
    let mut text = String::new();
    write_graph(graph, 0, &mut text);
    text
}

fn write_graph(graph: &Graph, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let name = |id: ValueId| {
        let mark = if graph.constant(id).is_some() { "%" } else { "" };
        format!("{mark}{}", graph.value(id).name)
    };
    let typed = |id: ValueId| format!("{}: {}", name(id), graph.value(id).fact);
    let inputs: Vec<String> = graph.inputs().iter().map(|&id| typed(id)).collect();
    let outputs: Vec<String> = graph.outputs().iter().map(|&id| name(id)).collect();
    let _ = writeln!(text, "{indent}graph {}({}) -> ({})", graph.name, inputs.join(", "), outputs.join(", "));
    for (id, weight) in graph.constants() {
        let shape: Vec<String> = weight.shape().iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{indent}  {}: {}[{}]", name(id), weight.describe(), shape.join(","));
    }
    for node in graph.nodes() {
        write_node(node, &indent, &name, &typed, text);
        for subgraph in node.attributes.graphs() {
            write_graph(subgraph, depth + 2, text);
        }
    }
}

fn write_node(
    node: &Node,
    indent: &str,
    name: &impl Fn(ValueId) -> String,
    typed: &impl Fn(ValueId) -> String,
    text: &mut String,
) {
    let outputs: Vec<String> = node.outputs.iter().map(|id| id.map_or("_".to_owned(), typed)).collect();
    let inputs: Vec<String> = node.inputs.iter().map(|id| id.map_or("_".to_owned(), name)).collect();
    let attributes: Vec<String> =
        node.attributes.iter().map(|(name, value)| format!("{name}={}", attribute_text(value))).collect();
    let attributes = if attributes.is_empty() { String::new() } else { format!(" {{{}}}", attributes.join(", ")) };
    let _ = writeln!(text, "{indent}  {} = {}({}){attributes}", outputs.join(", "), node.op_type, inputs.join(", "));
}

fn attribute_text(value: &Attribute) -> String {
    match value {
        Attribute::Int(value) => value.to_string(),
        Attribute::Float(value) => format!("{value:?}"),
        Attribute::Str(value) => format!("{value:?}"),
        Attribute::Ints(values) => format!("{values:?}"),
        Attribute::Floats(values) => format!("{values:?}"),
        Attribute::Strs(values) => format!("{values:?}"),
        Attribute::Tensor(tensor) => format!("{}{:?}", tensor.dtype(), tensor.shape()),
        Attribute::Tensors(tensors) => format!("{} tensors", tensors.len()),
        Attribute::Graph(graph) => format!("graph {}", graph.name),
        Attribute::Raw(_) => "…".to_owned(),
    }
}
