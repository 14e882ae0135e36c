//! `SequenceErase`: a sequence without the tensor at one position, the last by default.
//!
//! <https://onnx.ai/onnx/operators/onnx__SequenceErase.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::gather::position;

pub(crate) const OP: OpSpec = OpSpec {
    name: "SequenceErase",
    domain: "",
    since: 11,
    read: |_| Ok(Arc::new(SequenceErase)),
    samples: || {
        let two = || Tensor::sequence(vec![Tensor::scalar(1f32), Tensor::scalar(2f32)]);
        vec![Sample::new([two()]), Sample::new([two(), Tensor::scalar(-2i64)])]
    },
};

/// `SequenceErase`.
#[derive(Debug, Clone, Copy)]
pub struct SequenceErase;

impl Op for SequenceErase {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Sequence), None)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let mut items = inputs.required(0)?.items()?.to_vec();
        let index = inputs.optional(1).map_or(Ok(-1), Tensor::to_i64)?;
        items.remove(position(index, items.len())?);
        Ok(vec![Tensor::sequence(items)])
    }
}
