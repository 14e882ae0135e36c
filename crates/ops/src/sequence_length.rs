//! `SequenceLength`: the number of tensors in a sequence, as an i64 scalar.
//!
//! <https://onnx.ai/onnx/operators/onnx__SequenceLength.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SequenceLength",
    domain: "",
    since: 11,
    read: |_| Ok(Arc::new(SequenceLength)),
    samples: || {
        let two = Tensor::sequence(vec![Tensor::scalar(1f32), Tensor::scalar(2f32)]);
        vec![Sample::new([two]), Sample::new([Tensor::empty_sequence()])]
    },
};

/// `SequenceLength`.
#[derive(Debug, Clone, Copy)]
pub struct SequenceLength;

impl Op for SequenceLength {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::known(DType::I64, &[])])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![Tensor::scalar(inputs.required(0)?.items()?.len() as i64)])
    }
}
