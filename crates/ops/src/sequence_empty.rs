//! `SequenceEmpty`: a sequence of nothing.
//!
//! <https://onnx.ai/onnx/operators/onnx__SequenceEmpty.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SequenceEmpty",
    domain: "",
    since: 11,
    read: |node| {
        node.ignore(&["dtype"]); // sequences here hold tensors of any type
        Ok(Arc::new(SequenceEmpty))
    },
    samples: || vec![Sample::new([]), Sample::new([]).with("dtype", 7i64)],
};

/// `SequenceEmpty`.
#[derive(Debug, Clone, Copy)]
pub struct SequenceEmpty;

impl Op for SequenceEmpty {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::known(DType::Sequence, &[0])])
    }

    fn evaluate(&self, _inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![Tensor::empty_sequence()])
    }
}
