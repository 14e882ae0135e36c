//! `Softmax`: exp(x) over its sum along an axis.
//!
//! <https://onnx.ai/onnx/operators/onnx__Softmax.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_one};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;
use crate::softmax_axis::{SoftmaxAxis, softmax};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Softmax",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Softmax { axis: SoftmaxAxis::read(node)? })),
    samples: || {
        vec![
            Sample::new([ramp(&[2, 5])]),
            Sample::new([ramp(&[2, 3, 4])]).with("axis", 1i64),
            Sample::new([Tensor::vector(vec![1000f32, 999.0, -1000.0])]).with("axis", 0i64),
            Sample::new([ramp(&[3, 0])]),
        ]
    },
};

/// `Softmax` along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax {
    /// Where it runs.
    pub axis: SoftmaxAxis,
}

impl Op for Softmax {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut values = floats(0, x)?;
        self.axis.apply(x.shape(), &mut values, softmax)?;
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let name = if self.axis.flattens { "SoftmaxGrad" } else { "SoftmaxGrad_13" };
        of_one(vjp, |dy, _, y| Expr::microsoft(name, [dy, y]).with("axis", self.axis.axis))
    }
}
