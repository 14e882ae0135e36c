//! Subgraphs of control flow: how a node runs and types the graphs it holds.

use std::ops::Range;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Graph, Inputs, NodeReader, OpError, infer_with_inputs, interpret_with_captures};
use lissom_tensor::Tensor;

/// A subgraph and where the values it captures stand among the node's inputs.
#[derive(Debug, Clone)]
pub struct Subgraph {
    /// The graph.
    pub graph: Arc<Graph>,
    /// Its captures, as positions behind the node's own inputs.
    pub captures: Range<usize>,
}

impl Subgraph {
    /// The attribute `name`.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`] if it is missing or no graph.
    pub(crate) fn read(node: &NodeReader<'_>, name: &'static str) -> Result<Self, OpError> {
        let graph = node.graph(name)?.ok_or_else(|| OpError::attribute(name, "is missing"))?;
        // The captures of all subgraphs follow the node's own inputs in the order of the attributes.
        let before = node.subgraphs().take_while(|(other, _)| *other != name);
        let first = node.n_inputs() + before.map(|(_, graph)| graph.captures().len()).sum::<usize>();
        let captures = first..first + graph.captures().len();
        Ok(Self { graph, captures })
    }

    /// The outputs for these inputs, with the captures taken from the node's.
    ///
    /// # Errors
    /// [`OpError::Subgraph`] with the node inside that refused.
    pub(crate) fn run(&self, inputs: &Inputs<'_>, own: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let captures = self.captures.clone().map(|index| inputs.required(index)).collect::<Result<Vec<_>, _>>()?;
        interpret_with_captures(&self.graph, own, &captures).map_err(|error| OpError::Subgraph(Box::new(error)))
    }

    /// Facts of the outputs when the inputs have these facts.
    ///
    /// # Errors
    /// [`OpError::BadValue`] with what cannot work inside.
    pub(crate) fn infer(&self, inputs: &Facts<'_>, own: &[Fact]) -> Result<Vec<Fact>, OpError> {
        let mut graph = (*self.graph).clone();
        let captures: Vec<_> = graph.captures().iter().map(|(_, id)| *id).collect();
        for (id, index) in captures.into_iter().zip(self.captures.clone()) {
            if let Some(fact) = inputs.optional(index) {
                *graph.fact_mut(id) = fact.clone();
            }
        }
        let facts =
            infer_with_inputs(&graph, own).map_err(|error| OpError::value(format!("in a subgraph: {error}")))?;
        Ok(graph.outputs().iter().map(|id| facts[id.index()].clone()).collect())
    }
}
