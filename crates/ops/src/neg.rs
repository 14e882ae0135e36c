//! `Neg`: −x. Integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Neg.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::gradient::{Gradients, of_one};
use crate::unary::{map_numeric, numeric_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Neg",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Neg))
    },
    samples: numeric_samples,
};

/// `Neg`.
#[derive(Debug, Clone, Copy)]
pub struct Neg;

impl Op for Neg {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        map_numeric!(
            inputs.required(0)?,
            float = |x| -x,
            signed = |x| x.wrapping_neg(),
            unsigned = |x| x.wrapping_neg()
        )
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_one(vjp, |dy, _, _| -dy)
    }
}
