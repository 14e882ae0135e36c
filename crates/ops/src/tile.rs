//! `Tile`: the tensor repeated along each axis.
//!
//! <https://onnx.ai/onnx/operators/onnx__Tile.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Strided, Tensor, checked_len, strides};

use crate::axes::axis;
use crate::constant_of_shape::shape_of;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, rank, x};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Tile",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Tile { one_axis: node.opset() < 6 })),
    samples: || {
        let x = || Tensor::new([2, 2], vec![1f32, 2.0, 3.0, 4.0]);
        let case = |repeats: &[i64]| Sample::new(x().into_iter().chain([Tensor::vector(repeats.to_vec())]));
        vec![case(&[2, 3]), case(&[1, 1]), case(&[0, 2])]
    },
};

/// `Tile`.
#[derive(Debug, Clone, Copy)]
pub struct Tile {
    /// Before opset 6: the inputs are a number of repeats and the only axis.
    pub(crate) one_axis: bool,
}

impl Op for Tile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let (Some(shape), Some(repeats), false) = (&x.shape, inputs.get(1).as_dims(), self.one_axis) else {
            return Ok(vec![Fact::maybe(x.dtype, None)]);
        };
        if repeats.len() != shape.len() || repeats.iter().any(|n| matches!(n, Dim::Known(n) if *n < 0)) {
            return Err(OpError::value(format!("{} repeats of {} axes", repeats.len(), shape.len())));
        }
        Ok(vec![Fact::maybe(x.dtype, Some(shape.iter().zip(&repeats).map(|(dim, n)| dim.mul(n)).collect()))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut repeats = shape_of(&inputs.required(1)?.to_i64_vec()?)?;
        if self.one_axis {
            let axis = axis(inputs.required(2)?.to_f64()? as i64, x.rank())?;
            let count = repeats.first().copied().unwrap_or(1);
            repeats = (0..x.rank()).map(|other| if other == axis { count } else { 1 }).collect();
        }
        if repeats.len() != x.rank() {
            return Err(OpError::shape(0, x.shape(), format!("{} repeats given", repeats.len())));
        }
        let too_long = || OpError::value(format!("{repeats:?} repeats are too many"));
        let shape: Vec<usize> = x
            .shape()
            .iter()
            .zip(&repeats)
            .map(|(&n, &r)| n.checked_mul(r))
            .collect::<Option<_>>()
            .ok_or_else(too_long)?;
        checked_len(x.dtype(), &shape)?;
        // Each axis is two: the repeats, over which the source stands still, and the axis itself.
        let steps = strides(x.shape());
        let walked = x.shape().iter().zip(&repeats).flat_map(|(&n, &r)| [r, n]).collect();
        let walk = steps.iter().flat_map(|&step| [0, step as isize]).collect();
        Ok(vec![x.pick(shape, Strided::new(walked, walk, 0))?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        if self.one_axis {
            return Err(NoGradient);
        }
        let rank = rank(vjp, 0)? as i64;
        of_output(vjp, |vjp, dy| {
            let (x, repeats) = (x(vjp, 0)?, x(vjp, 1)?);
            // Each axis as two, the repeats and the axis itself.
            let pairs = Expr::concat(vec![repeats.unsqueeze([1]), x.shape().unsqueeze([1])], 1);
            let split = dy.reshape(pairs.reshape(Expr::ints([-1]))).with("allowzero", 1i64);
            Ok(vec![Some(split.sum((0..rank).map(|axis| 2 * axis).collect::<Vec<_>>(), false))])
        })
    }
}
