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

impl Op for SequenceConstruct {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::known(DType::Sequence, &[inputs.len()])])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![Tensor::sequence(inputs.all()?.into_iter().cloned().collect())])
    }
}
