//! `Where`: elements of one of two tensors, chosen by a boolean.
//!
//! <https://onnx.ai/onnx/operators/onnx__Where.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Tensor, broadcast_shapes, checked_len, flat_indices};

use crate::elementwise::infer_broadcast;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_broadcast, x};
use crate::lengths::{lengths, lengths_fact};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Where",
    domain: "",
    since: 9,
    read: |_| Ok(Arc::new(Where)),
    samples: || {
        let condition = || Tensor::new([2, 1], vec![true, false]);
        let rows = |first: f32| [Tensor::vector(vec![first, first + 1.0])];
        vec![
            Sample::new(condition().into_iter().chain(rows(1.0)).chain(rows(8.0))),
            Sample::new([Tensor::scalar(false), Tensor::scalar(1i64), Tensor::scalar(2i64)]),
        ]
    },
};

/// `Where`.
#[derive(Debug, Clone, Copy)]
pub struct Where;

impl Where {
    fn infer_lengths(inputs: &Facts<'_>) -> Option<Fact> {
        let condition = inputs.get(0).tensor().filter(|tensor| tensor.rank() <= 1)?.to_i64_vec().ok()?;
        let ((dtype, x_rank, x), (_, y_rank, y)) = (lengths(inputs.get(1))?, lengths(inputs.get(2))?);
        let len = [condition.len(), x.len(), y.len()].into_iter().max()?;
        if [condition.len(), x.len(), y.len()].iter().any(|&own| own != len && own != 1) {
            return None;
        }
        let pick = |i: usize| {
            let from = if condition[i % condition.len()] != 0 { &x } else { &y };
            from[i % from.len()].clone()
        };
        let rank = x_rank.max(y_rank).max(inputs.get(0).rank()?);
        Some(lengths_fact(dtype, rank, (0..len).map(pick).collect()))
    }
}

impl Op for Where {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        if let Some(fact) = Self::infer_lengths(inputs) {
            return Ok(vec![fact]);
        }
        Ok(vec![Fact { dtype: inputs.dtype(1).or(inputs.dtype(2)), ..infer_broadcast(inputs)? }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (condition, x, y) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let shape = broadcast_shapes(condition.shape(), &broadcast_shapes(x.shape(), y.shape())?)?;
        checked_len(x.dtype(), &shape)?;
        let both = Tensor::concat_flat(&[x, y])?;
        let flags = condition.as_slice::<bool>()?;
        let order = flat_indices(condition.shape(), &shape)
            .zip(flat_indices(x.shape(), &shape).zip(flat_indices(y.shape(), &shape)))
            .map(|(c, (i, j))| if flags[c] { i } else { x.len() + j });
        Ok(vec![both.pick(shape.clone(), order)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_broadcast(vjp, |vjp, dy| {
            let condition = x(vjp, 0)?;
            Ok(vec![None, Some(dy.clone().when(&condition, 0.0)), Some(Expr::from(0.0).when(&condition, dy))])
        })
    }
}
