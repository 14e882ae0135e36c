//! `SequenceAt`: the tensor at one position of a sequence.
//!
//! <https://onnx.ai/onnx/operators/onnx__SequenceAt.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::gather::position;

pub(crate) const OP: OpSpec = OpSpec {
    name: "SequenceAt",
    domain: "",
    since: 11,
    read: |_| Ok(Arc::new(SequenceAt)),
    samples: || {
        let two = || Tensor::sequence(vec![Tensor::scalar(1f32), Tensor::vector(vec![2f32])]);
        vec![Sample::new([two(), Tensor::scalar(0i64)]), Sample::new([two(), Tensor::scalar(-1i32)])]
    },
};

/// `SequenceAt`.
#[derive(Debug, Clone, Copy)]
pub struct SequenceAt;

impl Op for SequenceAt {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::unknown()])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let items = inputs.required(0)?.items()?;
        Ok(vec![items[position(inputs.required(1)?.to_i64()?, items.len())?].clone()])
    }
}
