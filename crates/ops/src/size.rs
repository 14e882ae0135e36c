//! `Size`: the number of elements, as an i64 scalar.
//!
//! <https://onnx.ai/onnx/operators/onnx__Size.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::lengths::{lengths_fact, product};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Size",
    domain: "",
    since: 1,
    read: |_| Ok(Arc::new(Size)),
    samples: || vec![Sample::new(Tensor::zeros(DType::F32, [2, 3])), Sample::new(Tensor::zeros(DType::I8, [0, 3]))],
};

/// `Size`.
#[derive(Debug, Clone, Copy)]
pub struct Size;

impl Op for Size {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![match inputs.shape(0) {
            Some(shape) => lengths_fact(DType::I64, 0, vec![product(shape)]),
            None => Fact::known(DType::I64, &[]),
        }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![Tensor::scalar(inputs.required(0)?.len() as i64)])
    }
}
