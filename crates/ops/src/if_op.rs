//! `If`: one of two subgraphs, chosen by a boolean.
//!
//! <https://onnx.ai/onnx/operators/onnx__If.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attribute, Fact, Facts, Graph, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{Tensor, Weight};

use crate::subgraph::Subgraph;

pub(crate) const OP: OpSpec = OpSpec {
    name: "If",
    domain: "",
    since: 1,
    read: |node| {
        let op =
            If { then_branch: Subgraph::read(node, "then_branch")?, else_branch: Subgraph::read(node, "else_branch")? };
        Ok(Arc::new(op))
    },
    samples: || {
        let branch = |value: Tensor| {
            let mut graph = Graph::new("branch");
            let id = graph.add_constant("value", Weight::Dense(value));
            graph.set_outputs(vec![id]);
            Attribute::Graph(Arc::new(graph))
        };
        let case = |condition: bool| {
            Sample::new([Tensor::scalar(condition)])
                .with("then_branch", branch(Tensor::vector(vec![1f32, 2.0])))
                .with("else_branch", branch(Tensor::vector(vec![3f32])))
        };
        vec![case(true), case(false)]
    },
};

/// `If`.
#[derive(Debug, Clone)]
pub struct If {
    /// Runs if the condition holds.
    pub then_branch: Subgraph,
    /// Runs if it does not.
    pub else_branch: Subgraph,
}

/// What two facts of the same value have in common.
pub(crate) fn common(a: &Fact, b: &Fact) -> Fact {
    if a == b {
        return a.clone();
    }
    let shape = a.shape.clone().filter(|shape| b.shape.as_ref() == Some(shape));
    Fact::maybe(a.dtype.filter(|dtype| b.dtype == Some(*dtype)), shape)
}

impl Op for If {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let known = inputs.get(0).tensor().and_then(|tensor| tensor.to_i64().ok());
        if let Some(condition) = known {
            let branch = if condition != 0 { &self.then_branch } else { &self.else_branch };
            return branch.infer(inputs, &[]);
        }
        // A branch that can never work is no error as long as it is not taken.
        match (self.then_branch.infer(inputs, &[]), self.else_branch.infer(inputs, &[])) {
            (Ok(then), Ok(other)) => Ok(then.iter().zip(&other).map(|(a, b)| common(a, b)).collect()),
            _ => Ok(vec![Fact::unknown(); self.then_branch.graph.outputs().len()]),
        }
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let condition = inputs.required(0)?.to_i64()?;
        let branch = if condition != 0 { &self.then_branch } else { &self.else_branch };
        branch.run(inputs, &[])
    }

    fn is_deterministic(&self) -> bool {
        let graphs = [&self.then_branch, &self.else_branch];
        graphs.iter().all(|branch| branch.graph.nodes().iter().all(|node| node.op.is_deterministic()))
    }
}
