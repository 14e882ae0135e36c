//! `Add`: a + b with broadcasting. Integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Add.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, ValueId, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::{infer_broadcast, two, zip_dims, zip_numeric};
use crate::gradient::{output_gradient, sum_to_input};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Add",
    domain: "",
    since: 7,
    read: |_| Ok(Arc::new(Add)),
    samples: || {
        let matrix = Tensor::new([2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap_or_else(|_| Tensor::scalar(0f32));
        vec![
            Sample::new([matrix.clone(), matrix.clone()]),
            Sample::new([matrix, Tensor::vector(vec![10f32, 20.0, 30.0])]),
            Sample::new([Tensor::scalar(i8::MAX), Tensor::scalar(1i8)]),
        ]
    },
};

/// `Add`.
#[derive(Debug, Clone, Copy)]
pub struct Add;

impl Op for Add {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        match zip_dims(inputs, |a, b| Some(a.add(b))) {
            Some(fact) => Ok(vec![fact]),
            None => Ok(vec![infer_broadcast(inputs)?]),
        }
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = two(inputs)?;
        Ok(vec![zip_numeric!(a, b, float | x, y | x + y, int | x, y | x.wrapping_add(y))?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<Vec<Option<ValueId>>, NoGradient> {
        let Some(gradient) = output_gradient(vjp) else { return Ok(vec![None, None]) };
        let joined = self.infer(&vjp.facts).ok().and_then(|facts| facts.into_iter().next()?.shape).ok_or(NoGradient)?;
        Ok(vec![Some(sum_to_input(vjp, gradient, &joined, 0)?), Some(sum_to_input(vjp, gradient, &joined, 1)?)])
    }
}
