//! `Add`: a + b with broadcasting. Integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Add.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, ValueId, Vjp};
use lissom_tensor::Tensor;

use crate::binary::{Alignment, infer_lengths, samples};
use crate::elementwise::zip_numeric;
use crate::gradient::{output_gradient, sum_to_input};

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

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<Vec<Option<ValueId>>, NoGradient> {
        if self.alignment != Alignment::Last {
            return Err(NoGradient);
        }
        let Some(gradient) = output_gradient(vjp) else { return Ok(vec![None, None]) };
        let joined = self.infer(&vjp.facts).ok().and_then(|facts| facts.into_iter().next()?.shape).ok_or(NoGradient)?;
        Ok(vec![Some(sum_to_input(vjp, gradient, &joined, 0)?), Some(sum_to_input(vjp, gradient, &joined, 1)?)])
    }
}
