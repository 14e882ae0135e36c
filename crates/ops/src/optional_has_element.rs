//! `OptionalHasElement`: whether there is a value, as a boolean scalar.
//!
//! <https://onnx.ai/onnx/operators/onnx__OptionalHasElement.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "OptionalHasElement",
    domain: "",
    since: 15,
    read: |_| Ok(Arc::new(OptionalHasElement)),
    samples: || {
        vec![
            Sample::new([Tensor::optional(Some(Tensor::scalar(1f32)))]),
            Sample::new([Tensor::optional(None)]),
            Sample::new([]),
        ]
    },
};

/// `OptionalHasElement`.
#[derive(Debug, Clone, Copy)]
pub struct OptionalHasElement;

impl Op for OptionalHasElement {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::known(DType::Bool, &[])])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let has = inputs.optional(0).is_some_and(|x| x.dtype() != DType::Optional || !x.is_empty());
        Ok(vec![Tensor::scalar(has)])
    }
}
