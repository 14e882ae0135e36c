//! Whether a graph is sound.

use std::collections::HashSet;

use crate::Graph;

/// What is wrong with a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum VerifyError {
    #[error("two values are named `{name}`")]
    DuplicateValueName { name: String },
    #[error("two nodes are named `{name}`")]
    DuplicateNodeName { name: String },
    #[error("value `{value}` is made twice, the second time by node `{node}`")]
    MadeTwice { node: String, value: String },
    #[error("node `{node}` uses value `{value}` before it is made")]
    UsedBeforeMade { node: String, value: String },
    #[error("output `{value}` is never made")]
    OutputNotMade { value: String },
    #[error("node `{node}` captures {actual} values, its subgraphs want {expected}")]
    Captures { node: String, expected: usize, actual: usize },
    #[error("node `{node}` is part of a cycle")]
    Cycle { node: String },
}

/// Checks the invariants of [`Graph`], subgraphs included.
///
/// # Errors
/// The first [`VerifyError`] found.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    let mut names = HashSet::new();
    for value in graph.values() {
        if !value.name.is_empty() && !names.insert(value.name.as_str()) {
            return Err(VerifyError::DuplicateValueName { name: value.name.clone() });
        }
    }
    let mut made = vec![false; graph.values().len()];
    let captures = graph.captures().iter().map(|(_, id)| *id);
    for id in graph.inputs().iter().copied().chain(graph.constants().map(|(id, _)| id)).chain(captures) {
        made[id.index()] = true;
    }
    let mut node_names = HashSet::new();
    for node in graph.nodes() {
        if !node_names.insert(node.name.as_str()) {
            return Err(VerifyError::DuplicateNodeName { name: node.name.clone() });
        }
        let name_of = |id| graph.value(id).name.clone();
        if let Some(used) = node.uses().find(|used| !made[used.index()]) {
            return Err(VerifyError::UsedBeforeMade { node: node.name.clone(), value: name_of(used) });
        }
        for &output in node.outputs.iter().flatten() {
            if std::mem::replace(&mut made[output.index()], true) {
                return Err(VerifyError::MadeTwice { node: node.name.clone(), value: name_of(output) });
            }
        }
        let expected: usize = node.attributes.graphs().map(|subgraph| subgraph.captures().len()).sum();
        if expected != node.captures.len() {
            let actual = node.captures.len();
            return Err(VerifyError::Captures { node: node.name.clone(), expected, actual });
        }
        node.attributes.graphs().try_for_each(|subgraph| verify(subgraph))?;
    }
    match graph.outputs().iter().find(|output| !made[output.index()]) {
        Some(&output) => Err(VerifyError::OutputNotMade { value: graph.value(output).name.clone() }),
        None => Ok(()),
    }
}
