//! `Flatten`: a matrix: the axes before `axis` are its rows, the others its columns.
//!
//! <https://onnx.ai/onnx/operators/onnx__Flatten.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor};

use crate::gradient::{Gradients, of_reshape};
use crate::lengths::product;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Flatten",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Flatten { axis: node.int_or("axis", 1)? })),
    samples: || {
        let x = || Tensor::zeros(DType::F32, [2, 3, 4]);
        vec![
            Sample::new(x()),
            Sample::new(x()).with("axis", 0i64),
            Sample::new(x()).with("axis", -1i64),
            Sample::new(x()).with("axis", 3i64),
        ]
    },
};

/// `Flatten`.
#[derive(Debug, Clone, Copy)]
pub struct Flatten {
    /// First axis of the columns; negative counts from the end.
    pub axis: i64,
}

impl Flatten {
    fn split(&self, rank: usize) -> Result<usize, OpError> {
        let axis = if self.axis < 0 { self.axis.saturating_add(rank as i64) } else { self.axis };
        usize::try_from(axis)
            .ok()
            .filter(|&axis| axis <= rank)
            .ok_or_else(|| OpError::value(format!("axis {} of a tensor of rank {rank}", self.axis)))
    }
}

impl Op for Flatten {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let Some(shape) = &x.shape else { return Ok(vec![Fact::maybe(x.dtype, None)]) };
        let (rows, columns) = shape.split_at(self.split(shape.len())?);
        Ok(vec![Fact::maybe(x.dtype, Some(vec![product(rows), product(columns)]))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (rows, columns) = x.shape().split_at(self.split(x.rank())?);
        Ok(vec![x.reshape([rows.iter().product::<usize>(), columns.iter().product()])?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_reshape(vjp)
    }
}
