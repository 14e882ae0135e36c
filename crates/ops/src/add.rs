//! `Add`: a + b with broadcasting. Integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Add.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::elementwise::{infer_broadcast, two, zip_dims, zip_numeric};

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
}
