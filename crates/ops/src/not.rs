//! `Not`: the opposite of a boolean.
//!
//! <https://onnx.ai/onnx/operators/onnx__Not.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Not",
    domain: "",
    since: 1,
    read: |_| Ok(Arc::new(Not)),
    samples: || vec![Sample::new([Tensor::vector(vec![true, false])]), Sample::new([Tensor::scalar(false)])],
};

/// `Not`.
#[derive(Debug, Clone, Copy)]
pub struct Not;

impl Op for Not {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        Ok(vec![Tensor::new(x.shape(), x.as_slice::<bool>()?.iter().map(|x| !x).collect())?])
    }
}
