//! `OptionalGetElement`: what an optional value holds; anything else is itself.
//!
//! <https://onnx.ai/onnx/operators/onnx__OptionalGetElement.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "OptionalGetElement",
    domain: "",
    since: 15,
    read: |_| Ok(Arc::new(OptionalGetElement)),
    samples: || {
        vec![
            Sample::new([Tensor::optional(Some(Tensor::scalar(1f32)))]),
            Sample::new([Tensor::vector(vec![1f32, 2.0])]),
        ]
    },
};

/// `OptionalGetElement`.
#[derive(Debug, Clone, Copy)]
pub struct OptionalGetElement;

impl Op for OptionalGetElement {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![match inputs.dtype(0) {
            None | Some(DType::Optional) => Fact::unknown(),
            Some(_) => inputs.get(0).clone(),
        }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        if x.dtype() != DType::Optional {
            return Ok(vec![x.clone()]);
        }
        let item = x.items()?.first().ok_or_else(|| OpError::value("the optional value holds nothing"))?;
        Ok(vec![item.clone()])
    }
}
