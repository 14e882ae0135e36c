//! `Add`: a + b with broadcasting. Integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Add.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Vjp};
use lissom_tensor::Tensor;

use crate::binary::{Alignment, infer_lengths, samples};
use crate::elementwise::zip_numeric;
use crate::gradient::Gradients;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Add",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Add { alignment: Alignment::read(node)? })),
    samples,
};

/// `Add`.
#[derive(Debug, Clone, Copy)]
pub struct Add {
    pub(crate) alignment: Alignment,
}

impl Op for Add {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        match infer_lengths(inputs, |a, b| Some(a.add(b))) {
            Some(fact) => Ok(vec![fact]),
            None => Ok(vec![self.alignment.infer(inputs, None)?]),
        }
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = self.alignment.two(inputs)?;
        Ok(vec![zip_numeric!(a, &b, float = |x, y| x + y, int = |x, y| x.wrapping_add(y))?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        self.alignment.vjp(vjp, |dy, _, _| [dy.clone(), dy])
    }
}
