//! `Binarizer` of `ai.onnx.ml`: 1 above a threshold, else 0.
//!
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_Binarizer.html>

use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::numeric::from_f64;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Binarizer",
    domain: "ai.onnx.ml",
    since: 1,
    read: |node| Ok(Arc::new(Binarizer { threshold: node.float_or("threshold", 0.0)?.into() })),
    samples: || {
        let x = Tensor::vector(vec![-1f32, 0.0, 0.5, 2.0]);
        vec![Sample::new([x]).with("threshold", 0.5f32), Sample::new([Tensor::vector(vec![1i64, 0])])]
    },
};

/// `Binarizer`.
#[derive(Debug, Clone, Copy)]
pub struct Binarizer {
    /// What values are compared with.
    pub threshold: f64,
}

impl Op for Binarizer {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let flag = |x: f64| if x > self.threshold { 1.0 } else { 0.0 };
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), x.to_f64_vec()?.into_iter().map(flag).collect())?])
    }
}
