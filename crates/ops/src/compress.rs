//! `Compress`: the slices of an axis whose condition holds.
//!
//! <https://onnx.ai/onnx/operators/onnx__Compress.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::axes::{axis, split_at};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Compress",
    domain: "",
    since: 9,
    read: |node| Ok(Arc::new(Compress { axis: node.int("axis")? })),
    samples: || {
        let x = || Tensor::new([3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let condition = || [Tensor::vector(vec![false, true])];
        vec![
            Sample::new(x().into_iter().chain(condition())).with("axis", 0i64),
            Sample::new(x().into_iter().chain(condition())).with("axis", -1i64),
            Sample::new(x().into_iter().chain(condition())),
        ]
    },
};

/// `Compress`.
#[derive(Debug, Clone, Copy)]
pub struct Compress {
    /// The axis; without one the elements are taken in a row.
    pub axis: Option<i64>,
}

impl Op for Compress {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(inputs.dtype(0), None)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, condition) = (inputs.required(0)?, inputs.required(1)?);
        let x = if self.axis.is_none() { x.reshape([x.len()])? } else { x.clone() };
        let axis = axis(self.axis.unwrap_or(0), x.rank())?;
        let (outer, length, inner) = split_at(x.shape(), axis);
        let flags = condition.as_slice::<bool>()?;
        let taken: Vec<usize> = (0..flags.len()).filter(|&position| flags[position]).collect();
        if let Some(last) = taken.last().filter(|&&last| last >= length) {
            return Err(OpError::shape(1, condition.shape(), format!("position {last} of an axis of length {length}")));
        }
        let mut shape = x.shape().to_vec();
        shape[axis] = taken.len();
        let order = (0..outer).flat_map(|o| {
            taken.iter().flat_map(move |&position| {
                let first = (o * length + position) * inner;
                first..first + inner
            })
        });
        Ok(vec![x.pick(shape, order)?])
    }
}
