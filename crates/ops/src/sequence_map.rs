//! `SequenceMap`: a subgraph run on each tensor of a sequence.
//!
//! <https://onnx.ai/onnx/operators/onnx__SequenceMap.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attribute, Fact, Facts, Graph, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::sequence_construct::expect_plain;
use crate::subgraph::Subgraph;

pub(crate) const OP: OpSpec = OpSpec {
    name: "SequenceMap",
    domain: "",
    since: 17,
    read: |node| {
        let body = Subgraph::read(node, "body")?;
        if body.graph.inputs().len() != node.n_inputs() {
            let counts = format!("has {} inputs, the node has {}", body.graph.inputs().len(), node.n_inputs());
            return Err(OpError::attribute("body", counts));
        }
        Ok(Arc::new(SequenceMap { n_inputs: node.n_inputs(), body }))
    },
    samples: || {
        let body = || {
            let mut graph = Graph::new("body");
            let item = graph.add_input("item", Fact::unknown());
            let other = graph.add_input("other", Fact::unknown());
            graph.set_outputs(vec![other, item]);
            Attribute::Graph(Arc::new(graph))
        };
        let items = Tensor::sequence(vec![Tensor::scalar(1f32), Tensor::scalar(2f32)]);
        let case = |items: Tensor| Sample::new([items, Tensor::scalar(5i64)]).with("body", body()).outputs(2);
        vec![case(items), case(Tensor::empty_sequence())]
    },
};

/// `SequenceMap`: other sequences are walked alongside, tensors are the same for every run.
#[derive(Debug, Clone)]
pub struct SequenceMap {
    /// Takes one of each input, gives one of each output.
    pub body: Subgraph,
    n_inputs: usize,
}

impl Op for SequenceMap {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Sequence), None); self.body.graph.outputs().len()])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let own = (0..self.n_inputs).map(|index| inputs.required(index)).collect::<Result<Vec<_>, _>>()?;
        let length = inputs.required(0)?.items()?.len();
        let mut outputs: Vec<Vec<Tensor>> = vec![Vec::with_capacity(length); self.body.graph.outputs().len()];
        for step in 0..length {
            let mut row = Vec::with_capacity(own.len());
            for (index, input) in own.iter().enumerate() {
                row.push(match input.dtype() {
                    DType::Sequence => input.items()?.get(step).ok_or_else(|| {
                        OpError::shape(index, input.shape(), format!("the first sequence has length {length}"))
                    })?,
                    _ => *input,
                });
            }
            let results = self.body.run(inputs, &row)?;
            for (index, (all, one)) in outputs.iter_mut().zip(results).enumerate() {
                expect_plain(index, &one)?;
                all.push(one);
            }
        }
        Ok(outputs.into_iter().map(Tensor::sequence).collect())
    }

    fn is_deterministic(&self) -> bool {
        self.body.graph.nodes().iter().all(|node| node.op.is_deterministic())
    }
}
