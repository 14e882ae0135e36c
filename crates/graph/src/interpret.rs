//! Running a graph plainly, node by node: the oracle of the engine, and what subgraphs run on.

use lissom_tensor::{Tensor, TensorError};

use crate::{Graph, Inputs, Node, OpError};

/// Why a run failed, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum EvaluateError {
    #[error("the graph has {expected} inputs, {actual} were given")]
    InputCount { expected: usize, actual: usize },
    #[error("constant `{name}`: {source}")]
    Constant { name: String, source: TensorError },
    #[error("node `{node}` ({op}): {source}")]
    Node { node: String, op: String, source: OpError },
}

/// The outputs for these inputs.
///
/// # Errors
/// [`EvaluateError`] with the node that refused.
pub fn interpret(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvaluateError> {
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    interpret_with_captures(graph, &inputs, &[])
}

/// Like [`interpret`], for a subgraph with the values it captures.
///
/// # Errors
/// As [`interpret`].
pub fn interpret_with_captures(
    graph: &Graph,
    inputs: &[&Tensor],
    captures: &[&Tensor],
) -> Result<Vec<Tensor>, EvaluateError> {
    if inputs.len() != graph.inputs.len() || captures.len() != graph.captures.len() {
        let expected = graph.inputs.len() + graph.captures.len();
        return Err(EvaluateError::InputCount { expected, actual: inputs.len() + captures.len() });
    }
    let mut values: Vec<Option<Tensor>> = vec![None; graph.values.len()];
    for (id, tensor) in graph.inputs.iter().zip(inputs) {
        values[id.index()] = Some((*tensor).clone());
    }
    for ((_, id), tensor) in graph.captures.iter().zip(captures) {
        values[id.index()] = Some((*tensor).clone());
    }
    for (id, weight) in &graph.constants {
        let name = || graph.value(*id).name.clone();
        values[id.index()] = Some(weight.decode().map_err(|source| EvaluateError::Constant { name: name(), source })?);
    }
    let mut uses = graph.use_counts();
    for node in &graph.nodes {
        let outputs = evaluate_node(node, &values)?;
        for (id, tensor) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                values[id.index()] = Some(tensor);
            }
        }
        for used in node.uses() {
            uses[used.index()] -= 1;
            if uses[used.index()] == 0 {
                values[used.index()] = None;
            }
        }
    }
    let missing = |name: &str| EvaluateError::Node {
        node: name.to_owned(),
        op: "output".to_owned(),
        source: OpError::value("the value was not made"),
    };
    graph.outputs.iter().map(|id| values[id.index()].clone().ok_or_else(|| missing(&graph.value(*id).name))).collect()
}

fn evaluate_node(node: &Node, values: &[Option<Tensor>]) -> Result<Vec<Tensor>, EvaluateError> {
    let inputs: Vec<Option<&Tensor>> = node
        .inputs
        .iter()
        .map(|id| id.and_then(|id| values[id.index()].as_ref()))
        .chain(node.captures.iter().map(|id| values[id.index()].as_ref()))
        .collect();
    let error = |source| EvaluateError::Node { node: node.name.clone(), op: node.op_type.clone(), source };
    let outputs = node.op.evaluate(&Inputs(&inputs)).map_err(error)?;
    let wanted = node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    if outputs.len() < wanted {
        return Err(error(OpError::value(format!("{} outputs were made, {wanted} are used", outputs.len()))));
    }
    Ok(outputs)
}
