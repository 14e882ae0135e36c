//! Calls of model-local functions, replaced by the nodes of the function.

use std::cell::Cell;
use std::collections::HashMap;

use lissom_onnx::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};
use prost::Message;

use crate::LoadError;

/// Functions calling functions; the format forbids recursion.
pub(crate) const MAX_CALL_DEPTH: usize = 64;

/// Inlining may make this many bytes of nodes for each byte of nodes and functions in the file: functions that call each
/// other twice would double with every level.
const INLINED_MULTIPLE: usize = 32;
/// What any file may inline, in bytes.
const INLINED_FLOOR_BYTES: usize = 64 << 20;
/// What a node takes in memory besides its text.
const NODE_BYTES: usize = 512;

/// What may still be inlined, in bytes of nodes.
#[derive(Debug)]
pub(crate) struct InlineBudget(Cell<usize>);

impl InlineBudget {
    pub(crate) fn of(model: &ModelProto) -> Self {
        let functions = model.functions.iter().map(Message::encoded_len);
        let nodes = model.graph.iter().flat_map(|graph| &graph.node).map(Message::encoded_len);
        let present: usize = if model.functions.is_empty() { 0 } else { functions.chain(nodes).sum() };
        Self(Cell::new(INLINED_MULTIPLE.saturating_mul(present).saturating_add(INLINED_FLOOR_BYTES)))
    }

    /// False once more was asked for than there is.
    fn spend(&self, bytes: usize) -> bool {
        self.0.set(self.0.get().saturating_sub(bytes));
        !self.is_spent()
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// The nodes of `function` with its formal inputs, outputs and attributes replaced by those of `call`. Every other name
/// gets `prefix`, which the caller makes unique. Ends early when the budget is spent.
pub(crate) fn expand<'a>(
    call: &'a NodeProto,
    function: &'a FunctionProto,
    prefix: &'a str,
    budget: &'a InlineBudget,
) -> Result<impl Iterator<Item = NodeProto> + 'a, LoadError> {
    if call.input.len() > function.input.len() || call.output.len() > function.output.len() {
        return Err(LoadError::Function {
            name: function.name().to_owned(),
            reason: format!(
                "takes {} inputs and gives {} outputs; node `{}` has {} and {}",
                function.input.len(),
                function.output.len(),
                call.name(),
                call.input.len(),
                call.output.len()
            ),
        });
    }
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (index, formal) in function.input.iter().enumerate() {
        names.insert(formal, call.input.get(index).map_or("", String::as_str));
    }
    for (formal, actual) in function.output.iter().zip(&call.output) {
        if !actual.is_empty() {
            names.insert(formal, actual);
        }
    }
    let defaults = function.attribute_proto.iter().map(|attribute| (attribute.name(), attribute));
    let given = call.attribute.iter().map(|attribute| (attribute.name(), attribute));
    let attributes: HashMap<&str, &AttributeProto> = defaults.chain(given).collect();
    let renaming = Renaming { names, attributes, prefix, budget };
    let affordable =
        move |node: &&NodeProto| budget.spend(NODE_BYTES + node.encoded_len() + prefix.len() * n_names(node));
    Ok(function.node.iter().take_while(affordable).map(move |node| renaming.node(node)))
}

fn n_names(node: &NodeProto) -> usize {
    1 + node.input.len() + node.output.len()
}

struct Renaming<'a> {
    names: HashMap<&'a str, &'a str>,
    attributes: HashMap<&'a str, &'a AttributeProto>,
    prefix: &'a str,
    budget: &'a InlineBudget,
}

impl Renaming<'_> {
    fn value(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(actual) => (*actual).to_owned(),
            None if name.is_empty() => String::new(),
            None => format!("{}{name}", self.prefix),
        }
    }

    fn node(&self, node: &NodeProto) -> NodeProto {
        NodeProto {
            input: node.input.iter().map(|name| self.value(name)).collect(),
            output: node.output.iter().map(|name| self.value(name)).collect(),
            name: node.name.as_ref().map(|name| format!("{}{name}", self.prefix)),
            attribute: node.attribute.iter().filter_map(|attribute| self.attribute(attribute)).collect(),
            ..node.clone()
        }
    }

    /// A reference to an attribute the call does not give is left out, so the operator's default holds.
    fn attribute(&self, attribute: &AttributeProto) -> Option<AttributeProto> {
        if !attribute.ref_attr_name().is_empty() {
            let actual = self.attributes.get(attribute.ref_attr_name())?;
            if !self.budget.spend(actual.encoded_len()) {
                return None;
            }
            return Some(AttributeProto { name: attribute.name.clone(), ..(*actual).clone() });
        }
        let mut attribute = attribute.clone();
        if let Some(graph) = &mut attribute.g {
            **graph = self.graph(graph);
        }
        attribute.graphs = attribute.graphs.iter().map(|graph| self.graph(graph)).collect();
        Some(attribute)
    }

    fn graph(&self, graph: &GraphProto) -> GraphProto {
        let mut graph = graph.clone();
        let affordable = |node: &&NodeProto| self.budget.spend(NODE_BYTES + self.prefix.len() * n_names(node));
        graph.node = graph.node.iter().take_while(affordable).map(|node| self.node(node)).collect();
        for value in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
            value.name = value.name.as_ref().map(|name| self.value(name));
        }
        for tensor in &mut graph.initializer {
            tensor.name = tensor.name.as_ref().map(|name| self.value(name));
        }
        for sparse in &mut graph.sparse_initializer {
            if let Some(values) = &mut sparse.values {
                values.name = values.name.as_ref().map(|name| self.value(name));
            }
        }
        graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formal_names_become_actual_and_others_get_the_prefix() {
        let function = FunctionProto {
            name: Some("F".into()),
            input: vec!["x".into(), "unused".into()],
            output: vec!["y".into()],
            attribute: vec!["alpha".into()],
            node: vec![
                NodeProto {
                    input: vec!["x".into(), "unused".into()],
                    output: vec!["t".into()],
                    attribute: vec![AttributeProto {
                        name: Some("a".into()),
                        ref_attr_name: Some("alpha".into()),
                        ..Default::default()
                    }],
                    ..Default::default()
                },
                NodeProto { input: vec!["t".into()], output: vec!["y".into()], ..Default::default() },
            ],
            ..Default::default()
        };
        let call = NodeProto { input: vec!["in".into()], output: vec!["out".into()], ..Default::default() };
        let budget = InlineBudget::of(&ModelProto::default());
        let nodes: Vec<NodeProto> = expand(&call, &function, "f/", &budget).unwrap().collect();
        assert_eq!(nodes[0].input, ["in", ""]);
        assert_eq!(nodes[0].output, ["f/t"]);
        assert!(nodes[0].attribute.is_empty());
        assert_eq!(nodes[1].output, ["out"]);
    }
}
