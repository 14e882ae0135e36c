//! `SequenceConstruct`: a sequence of the inputs.
//!
//! <https://onnx.ai/onnx/operators/onnx__SequenceConstruct.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SequenceConstruct",
    domain: "",
    since: 11,
    read: |_| Ok(Arc::new(SequenceConstruct)),
    samples: || {
        vec![Sample::new([Tensor::scalar(1f32), Tensor::vector(vec![2f32, 3.0])]), Sample::new([Tensor::scalar(1i64)])]
    },
};

/// `SequenceConstruct`.
#[derive(Debug, Clone, Copy)]
pub struct SequenceConstruct;

/// Refuses a sequence or optional: sequences hold tensors, and nested without end they could not even be dropped.
///
/// # Errors
/// [`OpError::UnsupportedType`].
pub(crate) fn expect_plain(index: usize, item: &Tensor) -> Result<(), OpError> {
    match item.dtype() {
        actual @ (DType::Sequence | DType::Optional) => Err(OpError::UnsupportedType { index, actual }),
        _ => Ok(()),
    }
}

impl Op for SequenceConstruct {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::known(DType::Sequence, &[inputs.len()])])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let items = inputs.all()?;
        items.iter().enumerate().try_for_each(|(index, item)| expect_plain(index, item))?;
        Ok(vec![Tensor::sequence(items.into_iter().cloned().collect())])
    }
}
