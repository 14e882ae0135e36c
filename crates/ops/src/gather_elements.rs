//! `GatherElements`: for each index the element at that position of an axis, the other positions being the index's own.
//!
//! <https://onnx.ai/onnx/operators/onnx__GatherElements.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::axes::axis;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x};
use crate::scatter_targets::element_targets;

pub(crate) const OP: OpSpec = OpSpec {
    name: "GatherElements",
    domain: "",
    since: 11,
    read: |node| Ok(Arc::new(GatherElements { axis: node.int_or("axis", 0)? })),
    samples: || {
        let x = || Tensor::new([3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let indices = || Tensor::new([2, 2], vec![0i64, 1, -1, 0]);
        vec![
            Sample::new(x().into_iter().chain(indices())),
            Sample::new(x().into_iter().chain(indices())).with("axis", 1i64),
        ]
    },
};

/// `GatherElements`.
#[derive(Debug, Clone, Copy)]
pub struct GatherElements {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

impl Op for GatherElements {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(inputs.dtype(0), inputs.shape(1).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, indices) = (inputs.required(0)?, inputs.required(1)?);
        let targets = element_targets(x.shape(), indices, axis(self.axis, x.rank())?)?;
        Ok(vec![x.pick(indices.shape(), targets)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let gradient = Expr::microsoft("GatherElementsGrad", [dy, x(vjp, 0)?.shape(), x(vjp, 1)?]);
            Ok(vec![Some(gradient.with("axis", self.axis))])
        })
    }
}
