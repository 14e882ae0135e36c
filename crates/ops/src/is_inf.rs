//! `IsInf`: whether each element is infinite.
//!
//! <https://onnx.ai/onnx/operators/onnx__IsInf.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::classify::flags;

pub(crate) const OP: OpSpec = OpSpec {
    name: "IsInf",
    domain: "",
    since: 10,
    read: |node| {
        let (negative, positive) = (node.flag_or("detect_negative", true)?, node.flag_or("detect_positive", true)?);
        Ok(Arc::new(IsInf { negative, positive }))
    },
    samples: || {
        let values = vec![1f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        vec![Sample::new([Tensor::vector(values)]), Sample::new([Tensor::scalar(0f64)])]
    },
};

/// `IsInf`.
#[derive(Debug, Clone, Copy)]
pub struct IsInf {
    /// −∞ counts.
    pub negative: bool,
    /// +∞ counts.
    pub positive: bool,
}

impl Op for IsInf {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Bool), inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![flags(inputs.required(0)?, |x| {
            x.is_infinite() && if x < 0.0 { self.negative } else { self.positive }
        })?])
    }
}
