//! `Hardmax`: 1 at the first largest value along an axis, 0 elsewhere.
//!
//! <https://onnx.ai/onnx/operators/onnx__Hardmax.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::gradient::{Gradients, constant_between_steps};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;
use crate::softmax_axis::{SoftmaxAxis, hardmax};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Hardmax",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Hardmax { axis: SoftmaxAxis::read(node)? })),
    samples: || {
        vec![
            Sample::new([ramp(&[2, 5])]),
            Sample::new([ramp(&[2, 3, 4])]).with("axis", 1i64),
            Sample::new([Tensor::vector(vec![1000f32, 999.0, -1000.0])]).with("axis", 0i64),
            Sample::new([ramp(&[3, 0])]),
        ]
    },
};

/// `Hardmax` along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardmax {
    /// Where it runs.
    pub axis: SoftmaxAxis,
}

impl Op for Hardmax {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut values = floats(0, x)?;
        self.axis.apply(x.shape(), &mut values, hardmax)?;
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        constant_between_steps(vjp)
    }
}
