//! Calls of model-local functions, replaced by the nodes of the function.

use std::collections::HashMap;

use lissom_onnx::{AttributeProto, FunctionProto, GraphProto, NodeProto};

use crate::LoadError;

/// Functions calling functions; the format forbids recursion.
pub(crate) const MAX_CALL_DEPTH: usize = 64;

/// The nodes of `function` with its formal inputs, outputs and attributes replaced by those of `call`. Every other name
/// gets `prefix`, which the caller makes unique.
pub(crate) fn expand(call: &NodeProto, function: &FunctionProto, prefix: &str) -> Result<Vec<NodeProto>, LoadError> {
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
    let renaming = Renaming { names, attributes, prefix };
    Ok(function.node.iter().map(|node| renaming.node(node)).collect())
}

struct Renaming<'a> {
    names: HashMap<&'a str, &'a str>,
    attributes: HashMap<&'a str, &'a AttributeProto>,
    prefix: &'a str,
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
        graph.node = graph.node.iter().map(|node| self.node(node)).collect();
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
        let nodes = expand(&call, &function, "f/").unwrap();
        assert_eq!(nodes[0].input, ["in", ""]);
        assert_eq!(nodes[0].output, ["f/t"]);
        assert!(nodes[0].attribute.is_empty());
        assert_eq!(nodes[1].output, ["out"]);
    }
}
