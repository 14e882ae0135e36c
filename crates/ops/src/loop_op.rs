//! `Loop`: a subgraph run again and again, with values carried from one run to the next.
//!
//! <https://onnx.ai/onnx/operators/onnx__Loop.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attribute, Fact, Facts, Graph, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, Weight, max_tensor_bytes};

use crate::stack::stack;
use crate::subgraph::Subgraph;

/// Levels of subgraphs in a body up to which shapes are followed from run to run.
const MAX_CLOSE_NESTING: usize = 2;
/// Rounds after which every shape that may change is taken for unknown.
const MAX_ROUNDS: usize = 4;
/// What a stacked value takes besides its elements.
const SLICE_BYTES: u64 = 128;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Loop",
    domain: "",
    since: 1,
    read: |node| {
        let body = Subgraph::read(node, "body")?;
        let n_carried = node.n_inputs().saturating_sub(2);
        let (n_inputs, n_outputs) = (body.graph.inputs().len(), body.graph.outputs().len());
        if n_inputs != n_carried + 2 || n_outputs < n_carried + 1 {
            let counts = format!("has {n_inputs} inputs and {n_outputs} outputs for {n_carried} carried values");
            return Err(OpError::attribute("body", counts));
        }
        Ok(Arc::new(Loop { body, n_carried }))
    },
    samples: || {
        let body = || {
            let mut graph = Graph::new("body");
            let iteration = graph.add_input("iteration", Fact::known(DType::I64, &[]));
            let condition = graph.add_input("condition", Fact::known(DType::Bool, &[]));
            let carried = graph.add_input("carried", Fact::known(DType::F32, &[2]));
            let row = graph.add_constant("row", Weight::Dense(Tensor::vector(vec![1f32, 2.0])));
            graph.set_outputs(vec![condition, carried, iteration, row]);
            Attribute::Graph(Arc::new(graph))
        };
        let inputs = |trips: i64| [Tensor::scalar(trips), Tensor::scalar(true), Tensor::vector(vec![5f32, 6.0])];
        [3, 0].map(|trips| Sample::new(inputs(trips)).with("body", body()).outputs(3)).to_vec()
    },
};

/// `Loop`: inputs are the largest number of runs, the first condition and the carried values.
#[derive(Debug, Clone)]
pub struct Loop {
    /// Takes the number of the run, the condition and the carried values; gives the next condition, the carried values
    /// and values that are stacked.
    pub body: Subgraph,
    /// Number of carried values.
    pub n_carried: usize,
}

impl Loop {
    /// Facts of the body's outputs that hold for every run.
    fn infer_body(&self, inputs: &Facts<'_>) -> Result<(Vec<Fact>, Vec<Fact>), OpError> {
        let mut carried: Vec<Fact> = (0..self.n_carried)
            .map(|i| Fact::maybe(inputs.dtype(i + 2), inputs.shape(i + 2).map(<[_]>::to_vec)))
            .collect();
        // A shape that one run changes is known in none; each round makes at least one shape unknown. Rounds of nested
        // loops multiply, so deep nests and long lists are not looked at as closely.
        let n_rounds = if nesting(&self.body.graph) > MAX_CLOSE_NESTING { 0 } else { MAX_ROUNDS };
        for round in 0.. {
            if round >= n_rounds {
                carried.iter_mut().for_each(|fact| fact.shape = None);
            }
            let first = [Fact::known(DType::I64, &[]), Fact::known(DType::Bool, &[])];
            let own: Vec<Fact> = first.into_iter().chain(carried.iter().cloned()).collect();
            let outputs = self.body.infer(inputs, &own)?;
            let mut changed = false;
            for (fact, next) in carried.iter_mut().zip(&outputs[1..]) {
                if fact.shape.is_some() && fact.shape != next.shape {
                    fact.shape = None;
                    changed = true;
                }
            }
            if !changed {
                return Ok((carried, outputs[self.n_carried + 1..].to_vec()));
            }
        }
        Err(OpError::value("the shapes of the body never settle"))
    }
}

/// Levels of subgraphs in a graph.
fn nesting(graph: &Graph) -> usize {
    let subgraphs = graph.nodes().iter().flat_map(|node| node.attributes.graphs());
    subgraphs.map(|subgraph| 1 + nesting(subgraph)).max().unwrap_or(0)
}

/// What the stacked values take may be no more than one tensor may, or a loop could fill all memory bit by bit.
fn check_stacked(n_bytes: u64) -> Result<(), OpError> {
    if n_bytes <= max_tensor_bytes() {
        return Ok(());
    }
    let limit = max_tensor_bytes();
    Err(OpError::value(format!("the stacked outputs pass the limit of {limit} bytes (`--max-memory` raises it)")))
}

impl Op for Loop {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let n_outputs = self.body.graph.outputs().len() - 1;
        // A body that can never work is no error if it never runs.
        let Ok((carried, stacked)) = self.infer_body(inputs) else { return Ok(vec![Fact::unknown(); n_outputs]) };
        Ok(carried.into_iter().chain(stacked.into_iter().map(|fact| Fact::maybe(fact.dtype, None))).collect())
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let trips = inputs.optional(0).map_or(Ok(i64::MAX), Tensor::to_i64)?;
        let mut condition = inputs.optional(1).cloned().unwrap_or_else(|| Tensor::scalar(true));
        let mut carried: Vec<Tensor> =
            (0..self.n_carried).map(|i| inputs.required(i + 2).cloned()).collect::<Result<_, _>>()?;
        let mut stacked: Vec<Vec<Tensor>> = vec![Vec::new(); self.body.graph.outputs().len() - 1 - self.n_carried];
        let (mut run, mut n_bytes) = (0, 0u64);
        while run < trips && condition.to_i64()? != 0 {
            let number = Tensor::scalar(run);
            let own: Vec<&Tensor> = [&number, &condition].into_iter().chain(&carried).collect();
            let mut outputs = self.body.run(inputs, &own)?.into_iter();
            condition = outputs.next().ok_or_else(|| OpError::value("the body gives no condition"))?;
            carried = outputs.by_ref().take(self.n_carried).collect();
            for (all, one) in stacked.iter_mut().zip(outputs) {
                n_bytes = n_bytes.saturating_add(one.bits() / 8 + SLICE_BYTES);
                all.push(one);
            }
            check_stacked(n_bytes)?;
            run += 1;
        }
        let facts = &self.body.graph.outputs()[self.n_carried + 1..];
        let stacked = stacked.iter().zip(facts).map(|(all, id)| stack(all, 0, &self.body.graph.value(*id).fact));
        carried.into_iter().map(Ok).chain(stacked).collect()
    }

    fn is_deterministic(&self) -> bool {
        self.body.graph.nodes().iter().all(|node| node.op.is_deterministic())
    }
}
