//! `BitwiseNot`: all bits the other way round.
//!
//! <https://onnx.ai/onnx/operators/onnx__BitwiseNot.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::bits::{from_patterns, patterns};
use crate::elementwise::infer_same;

pub(crate) const OP: OpSpec = OpSpec {
    name: "BitwiseNot",
    domain: "",
    since: 18,
    read: |_| Ok(Arc::new(BitwiseNot)),
    samples: || {
        vec![Sample::new([Tensor::vector(vec![-1i32, 0, 5])]), Sample::new([Tensor::vector(vec![0u8, 255, 7])])]
    },
};

/// `BitwiseNot`.
#[derive(Debug, Clone, Copy)]
pub struct BitwiseNot;

impl Op for BitwiseNot {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        if !x.dtype().is_int() {
            return Err(OpError::UnsupportedType { index: 0, actual: x.dtype() });
        }
        let mask = u64::MAX >> (64 - x.dtype().bits());
        let flipped = patterns(0, x)?.into_iter().map(|bits| !bits & mask).collect();
        Ok(vec![from_patterns(x.dtype(), x.shape(), flipped)?])
    }
}
