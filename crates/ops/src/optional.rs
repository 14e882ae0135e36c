//! `Optional`: a value that may be nothing.
//!
//! <https://onnx.ai/onnx/operators/onnx__Optional.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Optional",
    domain: "",
    since: 15,
    read: |node| {
        node.ignore(&["type"]); // says the type of nothing, which has no effect here
        Ok(Arc::new(Optional))
    },
    samples: || vec![Sample::new([Tensor::scalar(1f32)]), Sample::new([])],
};

/// `Optional`.
#[derive(Debug, Clone, Copy)]
pub struct Optional;

impl Op for Optional {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Optional), None)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let item = inputs.optional(0);
        if let Some(actual) = item.map(Tensor::dtype).filter(|&dtype| dtype == DType::Optional) {
            return Err(OpError::UnsupportedType { index: 0, actual });
        }
        Ok(vec![Tensor::optional(item.cloned())])
    }
}
