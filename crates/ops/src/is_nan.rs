//! `IsNaN`: whether each element is not a number.
//!
//! <https://onnx.ai/onnx/operators/onnx__IsNaN.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::classify::flags;

pub(crate) const OP: OpSpec = OpSpec {
    name: "IsNaN",
    domain: "",
    since: 9,
    read: |_| Ok(Arc::new(IsNaN)),
    samples: || {
        let values = vec![1f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        vec![Sample::new([Tensor::vector(values)]), Sample::new([Tensor::scalar(0f64)])]
    },
};

/// `IsNaN`.
#[derive(Debug, Clone, Copy)]
pub struct IsNaN;

impl Op for IsNaN {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Bool), inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![flags(inputs.required(0)?, f64::is_nan)?])
    }
}
