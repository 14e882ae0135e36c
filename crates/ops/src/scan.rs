//! `Scan`: a subgraph run for each slice of its scanned inputs, with states carried from one run to the next.
//!
//! <https://onnx.ai/onnx/operators/onnx__Scan.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attribute, Dim, Fact, Facts, Graph, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Strided, Tensor, strides};

use crate::axes::axis;
use crate::stack::stack;
use crate::subgraph::Subgraph;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Scan",
    domain: "",
    since: 8,
    read: |node| Ok(Arc::new(Scan::read(node)?)),
    samples: || {
        let body = || {
            let mut graph = Graph::new("body");
            let state = graph.add_input("state", Fact::known(DType::F32, &[]));
            let slice = graph.add_input("slice", Fact::known(DType::F32, &[2]));
            graph.set_outputs(vec![state, slice]);
            Attribute::Graph(Arc::new(graph))
        };
        let x = || Tensor::new([3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let case = || {
            let inputs = [Tensor::scalar(1f32)].into_iter().chain(x());
            Sample::new(inputs).with("body", body()).with("num_scan_inputs", 1i64).outputs(2)
        };
        vec![
            case(),
            case().with("scan_input_directions", vec![1i64]),
            case().with("scan_output_axes", vec![1i64]).with("scan_output_directions", vec![1i64]),
        ]
    },
};

/// `Scan`: inputs are the first states, then the scanned tensors.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Takes the states and one slice of each scanned input; gives the states and one slice of each scanned output.
    pub body: Subgraph,
    /// Number of states.
    pub n_states: usize,
    /// Axis and direction (true is backwards) of each scanned input.
    pub scanned_inputs: Vec<(i64, bool)>,
    /// Axis and direction (true is backwards) of each scanned output.
    pub scanned_outputs: Vec<(i64, bool)>,
    /// Opset 8: input 0 are lengths, and axis 0 of everything else is a batch whose entries are scanned one by one.
    pub(crate) is_batched: bool,
}

impl Scan {
    fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let body = Subgraph::read(node, "body")?;
        let is_batched = node.opset() < 9;
        let n_inputs = node.n_inputs().saturating_sub(usize::from(is_batched));
        let n_scanned = node.int("num_scan_inputs")?.and_then(|n| usize::try_from(n).ok());
        let n_scanned = n_scanned.filter(|&n| n > 0 && n <= n_inputs);
        let n_scanned =
            n_scanned.ok_or_else(|| OpError::attribute("num_scan_inputs", format!("must be from 1 to {n_inputs}")))?;
        let n_states = n_inputs - n_scanned;
        let n_outputs = body.graph.outputs().len();
        if body.graph.inputs().len() != n_inputs || n_outputs < n_states {
            let found = format!("has {} inputs and {n_outputs} outputs", body.graph.inputs().len());
            return Err(OpError::attribute("body", format!("{found} for {n_states} states and {n_scanned} inputs")));
        }
        let input_directions = if is_batched { "directions" } else { "scan_input_directions" };
        Ok(Self {
            n_states,
            scanned_inputs: axes_and_directions(node, "scan_input_axes", input_directions, n_scanned)?,
            scanned_outputs: axes_and_directions(
                node,
                "scan_output_axes",
                "scan_output_directions",
                n_outputs - n_states,
            )?,
            body,
            is_batched,
        })
    }

    /// One sequence: final states and stacked outputs.
    fn scan(&self, inputs: &Inputs<'_>, states: Vec<Tensor>, scanned: &[Tensor]) -> Result<Vec<Tensor>, OpError> {
        let axes = scanned
            .iter()
            .zip(&self.scanned_inputs)
            .map(|(x, (position, _))| axis(*position, x.rank()))
            .collect::<Result<Vec<_>, _>>()?;
        let lengths: Vec<usize> = scanned.iter().zip(&axes).map(|(x, &axis)| x.shape()[axis]).collect();
        let length = lengths.first().copied().unwrap_or(0);
        if lengths.iter().any(|&other| other != length) {
            return Err(OpError::value(format!("scanned axes of lengths {lengths:?}")));
        }
        let mut states = states;
        let mut stacked: Vec<Vec<Tensor>> = vec![Vec::new(); self.scanned_outputs.len()];
        for step in 0..length {
            let slices = scanned
                .iter()
                .zip(axes.iter().zip(&self.scanned_inputs))
                .map(|(x, (&axis, (_, is_backwards)))| {
                    slice(x, axis, if *is_backwards { length - 1 - step } else { step })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let own: Vec<&Tensor> = states.iter().chain(&slices).collect();
            let mut outputs = self.body.run(inputs, &own)?.into_iter();
            states = outputs.by_ref().take(self.n_states).collect();
            stacked.iter_mut().zip(outputs).for_each(|(all, one)| all.push(one));
        }
        let ids = &self.body.graph.outputs()[self.n_states..];
        for ((mut all, (axis, is_backwards)), id) in stacked.into_iter().zip(&self.scanned_outputs).zip(ids) {
            if *is_backwards {
                all.reverse();
            }
            states.push(stack(&all, *axis, &self.body.graph.value(*id).fact)?);
        }
        Ok(states)
    }

    fn scan_batch(&self, inputs: &Inputs<'_>, own: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let batch = own.first().and_then(|x| x.shape().first().copied()).unwrap_or(0);
        if own.iter().any(|x| x.shape().first() != Some(&batch)) {
            return Err(OpError::value("the inputs have batches of different sizes"));
        }
        let lengths = inputs.optional(0).map(Tensor::to_i64_vec).transpose()?;
        let mut outputs: Vec<Vec<Tensor>> = Vec::new();
        for n in 0..batch {
            let mut entries = own.iter().map(|x| slice(x, 0, n)).collect::<Result<Vec<_>, _>>()?;
            let mut scanned = entries.split_off(self.n_states);
            if let Some(length) = lengths.as_ref().and_then(|lengths| lengths.get(n)) {
                let length = usize::try_from(*length).unwrap_or(0);
                scanned = scanned.iter().map(|x| truncated(x, length)).collect::<Result<_, _>>()?;
            }
            let results = self.scan(inputs, entries, &scanned)?;
            outputs.resize_with(results.len(), Vec::new);
            outputs.iter_mut().zip(results).for_each(|(all, one)| all.push(one));
        }
        if outputs.is_empty() {
            return Err(OpError::value("the batch is empty"));
        }
        outputs.iter().map(|all| stack(all, 0, &Fact::unknown())).collect()
    }
}

fn axes_and_directions(
    node: &NodeReader<'_>,
    axes: &'static str,
    directions: &'static str,
    count: usize,
) -> Result<Vec<(i64, bool)>, OpError> {
    let list = |name| Ok::<_, OpError>(node.ints(name)?.unwrap_or_else(|| vec![0; count]));
    let (positions, backwards) = (list(axes)?, list(directions)?);
    if positions.len() != count || backwards.len() != count {
        return Err(OpError::attribute(axes, format!("{axes} and {directions} need {count} entries")));
    }
    Ok(positions.into_iter().zip(backwards.into_iter().map(|direction| direction != 0)).collect())
}

/// The slice at `position` of `axis`, without that axis.
fn slice(x: &Tensor, axis: usize, position: usize) -> Result<Tensor, OpError> {
    let mut steps: Vec<isize> = strides(x.shape()).into_iter().map(|step| step as isize).collect();
    let mut shape = x.shape().to_vec();
    let first = steps.remove(axis) * position as isize;
    shape.remove(axis);
    Ok(x.pick(shape.clone(), Strided::new(shape, steps, first))?)
}

/// The first `length` slices of axis 0.
fn truncated(x: &Tensor, length: usize) -> Result<Tensor, OpError> {
    let mut shape = x.shape().to_vec();
    let Some(first) = shape.first_mut() else { return Ok(x.clone()) };
    *first = length.min(*first);
    Ok(x.pick(shape.clone(), 0..shape.iter().product())?)
}

impl Op for Scan {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let unknown = vec![Fact::unknown(); self.body.graph.outputs().len()];
        if self.is_batched {
            return Ok(unknown);
        }
        let mut own: Vec<Fact> =
            (0..self.n_states).map(|i| Fact::maybe(inputs.dtype(i), inputs.shape(i).map(<[_]>::to_vec))).collect();
        let mut length = None;
        for (i, (position, _)) in self.scanned_inputs.iter().enumerate() {
            let index = self.n_states + i;
            let Some(shape) = inputs.shape(index) else {
                own.push(Fact::maybe(inputs.dtype(index), None));
                continue;
            };
            let mut shape = shape.to_vec();
            length = Some(shape.remove(axis(*position, shape.len())?));
            own.push(Fact::maybe(inputs.dtype(index), Some(shape)));
        }
        // A body that can never work is no error if it never runs.
        let Ok(outputs) = self.body.infer(inputs, &own) else { return Ok(unknown) };
        let states = own.iter().zip(&outputs).take(self.n_states).map(|(before, after)| {
            let shape = before.shape.clone().filter(|shape| after.shape.as_ref() == Some(shape));
            Fact::maybe(before.dtype, shape)
        });
        let stacked = outputs[self.n_states..].iter().zip(&self.scanned_outputs).map(|(fact, (position, _))| {
            let shape = fact.shape.clone().zip(length.clone()).and_then(|(mut shape, length): (Vec<Dim>, Dim)| {
                shape.insert(axis(*position, shape.len() + 1).ok()?, length);
                Some(shape)
            });
            Fact::maybe(fact.dtype, shape)
        });
        Ok(states.chain(stacked).collect())
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let first = usize::from(self.is_batched);
        let count = self.n_states + self.scanned_inputs.len();
        let own = (first..first + count).map(|i| inputs.required(i)).collect::<Result<Vec<_>, _>>()?;
        if self.is_batched {
            return self.scan_batch(inputs, &own);
        }
        let states = own[..self.n_states].iter().map(|&x| x.clone()).collect();
        let scanned: Vec<Tensor> = own[self.n_states..].iter().map(|&x| x.clone()).collect();
        self.scan(inputs, states, &scanned)
    }

    fn is_deterministic(&self) -> bool {
        self.body.graph.nodes().iter().all(|node| node.op.is_deterministic())
    }
}
