//! `Identity`: the input itself.
//!
//! <https://onnx.ai/onnx/operators/onnx__Identity.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::gradient::{Gradients, of_reshape};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Identity",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Identity))
    },
    samples: || {
        vec![
            Sample::new([Tensor::vector(vec![1.5f32, -2.0])]),
            Sample::new([Tensor::vector(vec!["a".to_owned()])]),
            Sample::new([Tensor::sequence(vec![Tensor::scalar(1i32)])]),
        ]
    },
};

/// `Identity`.
#[derive(Debug, Clone, Copy)]
pub struct Identity;

impl Op for Identity {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![inputs.get(0).clone()])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![inputs.required(0)?.clone()])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_reshape(vjp)
    }
}
