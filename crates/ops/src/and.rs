//! `And`: whether both hold, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__And.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec};
use lissom_tensor::{DType, Tensor};

use crate::binary::{Alignment, bool_samples};
use crate::elementwise::zip;

pub(crate) const OP: OpSpec = OpSpec {
    name: "And",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(And { alignment: Alignment::read(node)? })),
    samples: bool_samples,
};

/// `And`.
#[derive(Debug, Clone, Copy)]
pub struct And {
    pub(crate) alignment: Alignment,
}

impl Op for And {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![self.alignment.infer(inputs, Some(DType::Bool))?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = self.alignment.two(inputs)?;
        Ok(vec![zip::<bool, bool>(a, &b, |x, y| *x && *y)?])
    }
}
