//! Changing the graphs inside of nodes (`If`, `Loop`, `Scan`).

use std::sync::Arc;

use crate::{Attribute, Graph, LoadError, Model, NodeReader, OpError, Operators};

impl Graph {
    /// Lets `edit` change every subgraph, innermost first, and gives the nodes around them operators that see the change.
    /// An edit keeps a subgraph's inputs, outputs and captures as they are.
    ///
    /// # Errors
    /// Whatever `edit` says; [`LoadError::Operator`] if a node refuses its changed subgraph.
    pub fn edit_subgraphs<E: From<LoadError>>(
        &mut self,
        operators: &Operators,
        edit: &mut dyn FnMut(&mut Graph) -> Result<(), E>,
    ) -> Result<(), E> {
        for node in &mut self.nodes {
            if node.attributes.graphs().next().is_none() {
                continue;
            }
            let names: Vec<String> = node.attributes.iter().map(|(name, _)| name.to_owned()).collect();
            for name in names {
                let Some(Attribute::Graph(subgraph)) = node.attributes.get(&name) else { continue };
                let mut changed = Graph::clone(subgraph);
                changed.edit_subgraphs(operators, edit)?;
                edit(&mut changed)?;
                node.attributes.set(name, Attribute::Graph(Arc::new(changed)));
            }
            let in_node =
                |source: OpError| LoadError::Operator { node: node.name.clone(), op: node.op_type.clone(), source };
            node.op = NodeReader::read_op(
                operators,
                &node.domain,
                &node.op_type,
                node.opset,
                &node.inputs,
                &node.outputs,
                &node.attributes,
            )
            .map_err(in_node)?;
        }
        Ok(())
    }

    /// Every graph inside of nodes, outermost first.
    pub fn subgraphs(&self) -> Vec<&Graph> {
        let mut found = Vec::new();
        for subgraph in self.nodes.iter().flat_map(|node| node.attributes.graphs()) {
            found.push(&**subgraph);
            found.extend(subgraph.subgraphs());
        }
        found
    }
}

impl Model {
    /// Another graph at the opsets of this model: how passes and methods work on a subgraph as on a model.
    #[must_use]
    pub fn with_graph(&self, graph: Graph) -> Self {
        Self { graph, operators: self.operators, opsets: self.opsets.clone(), header: self.header.clone() }
    }
}
