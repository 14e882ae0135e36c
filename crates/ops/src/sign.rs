//! `Sign`: −1, 0 or 1; NaN stays NaN.
//!
//! <https://onnx.ai/onnx/operators/onnx__Sign.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::gradient::{Gradients, constant_between_steps};
use crate::unary::{map_numeric, numeric_samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Sign",
    domain: "",
    since: 9,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Sign))
    },
    samples: numeric_samples,
};

/// `Sign`.
#[derive(Debug, Clone, Copy)]
pub struct Sign;

impl Op for Sign {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        map_numeric!(
            inputs.required(0)?,
            float = |x| if x == 0.0 {
                0.0
            } else if x.is_nan() {
                x
            } else {
                x.signum()
            },
            signed = |x| x.signum(),
            unsigned = |x| x.min(1)
        )
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        constant_between_steps(vjp)
    }
}
