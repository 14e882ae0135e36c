//! `SequenceInsert`: a sequence with a tensor put in before one position, at the end by default.
//!
//! <https://onnx.ai/onnx/operators/onnx__SequenceInsert.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::gather::position;
use crate::sequence_construct::expect_plain;

pub(crate) const OP: OpSpec = OpSpec {
    name: "SequenceInsert",
    domain: "",
    since: 11,
    read: |_| Ok(Arc::new(SequenceInsert)),
    samples: || {
        let one = || [Tensor::sequence(vec![Tensor::scalar(1f32)]), Tensor::scalar(2f32)];
        vec![Sample::new(one()), Sample::new(one().into_iter().chain([Tensor::scalar(-1i64)]))]
    },
};

/// `SequenceInsert`.
#[derive(Debug, Clone, Copy)]
pub struct SequenceInsert;

impl Op for SequenceInsert {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Sequence), None)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let mut items = inputs.required(0)?.items()?.to_vec();
        let at = match inputs.optional(2).map(Tensor::to_i64).transpose()? {
            Some(index) if index == items.len() as i64 => items.len(),
            Some(index) => position(index, items.len())?,
            None => items.len(),
        };
        items.iter().try_for_each(|item| expect_plain(0, item))?;
        expect_plain(1, inputs.required(1)?)?;
        items.insert(at, inputs.required(1)?.clone());
        Ok(vec![Tensor::sequence(items)])
    }
}
