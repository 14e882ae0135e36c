//! `Xor`: whether exactly one holds, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__Xor.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec};
use lissom_tensor::{DType, Tensor};

use crate::binary::{Alignment, bool_samples};
use crate::elementwise::zip;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Xor",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Xor { alignment: Alignment::read(node)? })),
    samples: bool_samples,
};

/// `Xor`.
#[derive(Debug, Clone, Copy)]
pub struct Xor {
    pub(crate) alignment: Alignment,
}

impl Op for Xor {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![self.alignment.infer(inputs, Some(DType::Bool))?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = self.alignment.two(inputs)?;
        Ok(vec![zip::<bool, bool>(a, &b, |x, y| x != y)?])
    }
}
