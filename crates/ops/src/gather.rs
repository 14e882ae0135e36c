//! `Gather`: slices of one axis, chosen by indices.
//!
//! <https://onnx.ai/onnx/operators/onnx__Gather.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Tensor, checked_len};

use crate::axes::{axis, split_at};
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x};
use crate::lengths::{is_symbolic, lengths, lengths_fact};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Gather",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Gather { axis: node.int_or("axis", 0)? })),
    samples: || {
        let x = || Tensor::new([3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let indices = Tensor::new([2, 2], vec![0i64, -1, 2, 1]);
        vec![
            Sample::new(x().into_iter().chain(indices)),
            Sample::new(x().into_iter().chain([Tensor::scalar(1i32)])).with("axis", 1i64),
            Sample::new(x().into_iter().chain([Tensor::vector(Vec::<i64>::new())])),
        ]
    },
};

/// `Gather`.
#[derive(Debug, Clone, Copy)]
pub struct Gather {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

/// A position on an axis of `length`; negative ones count from the end.
///
/// # Errors
/// [`OpError::BadValue`] if it is outside.
pub(crate) fn position(index: i64, length: usize) -> Result<usize, OpError> {
    let from_start = if index < 0 { index.saturating_add(length as i64) } else { index };
    usize::try_from(from_start)
        .ok()
        .filter(|&position| position < length)
        .ok_or_else(|| OpError::value(format!("index {index} on an axis of length {length}")))
}

impl Op for Gather {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, indices) = (inputs.get(0), inputs.get(1));
        let (Some(shape), Some(chosen)) = (&x.shape, &indices.shape) else {
            return Ok(vec![Fact::maybe(x.dtype, None)]);
        };
        let axis = axis(self.axis, shape.len())?;
        if is_symbolic(x)
            && let (Some((dtype, 1, dims)), Some(list)) = (lengths(x), indices.i64s())
            && chosen.len() <= 1
        {
            let taken = list.iter().map(|&index| Ok(dims[position(index, dims.len())?].clone()));
            let taken = taken.collect::<Result<Vec<_>, OpError>>()?;
            return Ok(vec![lengths_fact(dtype, chosen.len(), taken)]);
        }
        let out = shape[..axis].iter().chain(chosen).chain(&shape[axis + 1..]).cloned().collect();
        Ok(vec![Fact::maybe(x.dtype, Some(out))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, indices) = (inputs.required(0)?, inputs.required(1)?);
        let axis = axis(self.axis, x.rank())?;
        let (outer, length, inner) = split_at(x.shape(), axis);
        let chosen =
            indices.to_i64_vec()?.into_iter().map(|index| position(index, length)).collect::<Result<Vec<_>, _>>()?;
        let shape = [&x.shape()[..axis], indices.shape(), &x.shape()[axis + 1..]].concat();
        checked_len(x.dtype(), &shape)?;
        let order = (0..outer).flat_map(|o| {
            chosen.iter().flat_map(move |&index| {
                let first = (o * length + index) * inner;
                first..first + inner
            })
        });
        Ok(vec![x.pick(shape, order)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let gradient = Expr::microsoft("GatherGrad", [x(vjp, 0)?.shape(), x(vjp, 1)?, dy]);
            Ok(vec![Some(gradient.with("axis", self.axis))])
        })
    }
}
