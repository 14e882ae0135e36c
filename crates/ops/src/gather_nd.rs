//! `GatherND`: the slices that index vectors point at.
//!
//! <https://onnx.ai/onnx/operators/onnx__GatherND.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Tensor, checked_len};

use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x};
use crate::scatter_targets::slice_targets;

pub(crate) const OP: OpSpec = OpSpec {
    name: "GatherND",
    domain: "",
    since: 11,
    read: |node| {
        let batch_dims = usize::try_from(node.int_or("batch_dims", 0)?)
            .map_err(|_| OpError::attribute("batch_dims", "is negative"))?;
        Ok(Arc::new(GatherND { batch_dims }))
    },
    samples: || {
        let x = || Tensor::new([2, 2, 2], (0..8).collect::<Vec<i32>>());
        let indices = || Tensor::new([2, 1], vec![1i64, 0]);
        vec![
            Sample::new(x().into_iter().chain(indices())),
            Sample::new([crate::sample_data::ramp(&[2, 3, 2])].into_iter().chain(indices())).with("batch_dims", 1i64),
            Sample::new(x().into_iter().chain(indices())).with("batch_dims", 1i64),
            Sample::new(x().into_iter().chain([Tensor::vector(vec![0i64, -1, 1])])),
        ]
    },
};

/// `GatherND`.
#[derive(Debug, Clone, Copy)]
pub struct GatherND {
    /// The first axes of data and indices that are the same.
    pub batch_dims: usize,
}

impl Op for GatherND {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let unknown = Ok(vec![Fact::maybe(inputs.dtype(0), None)]);
        let (Some(x), Some(indices)) = (inputs.shape(0), inputs.shape(1)) else { return unknown };
        let Some((depth, outer)) = indices.split_last() else { return unknown };
        let Some(rest) = depth.known().and_then(|depth| x.get(self.batch_dims.checked_add(depth)?..)) else {
            return unknown;
        };
        Ok(vec![Fact::maybe(inputs.dtype(0), Some(outer.iter().chain(rest).cloned().collect::<Vec<Dim>>()))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, indices) = (inputs.required(0)?, inputs.required(1)?);
        let (targets, slice_len) = slice_targets(x.shape(), indices, self.batch_dims)?;
        let depth = indices.shape().last().copied().unwrap_or(0);
        let outer = &indices.shape()[..indices.rank() - 1];
        let shape = [outer, &x.shape()[self.batch_dims + depth..]].concat();
        checked_len(x.dtype(), &shape)?;
        Ok(vec![x.pick(shape, targets.into_iter().flat_map(|first| first..first + slice_len))?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let gradient = Expr::microsoft("GatherNDGrad", [x(vjp, 0)?.shape(), x(vjp, 1)?, dy]);
            Ok(vec![Some(gradient.with("batch_dims", self.batch_dims as i64))])
        })
    }
}
