//! `Shrink`: elements moved towards zero by a bias, and zero where they are small.
//!
//! <https://onnx.ai/onnx/operators/onnx__Shrink.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::gradient::{Gradients, of_one};
use crate::numeric::from_f64;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Shrink",
    domain: "",
    since: 9,
    read: |node| {
        let (bias, lambd) = (node.float_or("bias", 0.0)?, node.float_or("lambd", 0.5)?);
        Ok(Arc::new(Shrink { bias: bias.into(), lambd: lambd.into() }))
    },
    samples: || {
        let x = || Tensor::vector(vec![-2f32, -0.5, 0.0, 0.25, 3.0]);
        vec![
            Sample::new([x()]),
            Sample::new([x()]).with("bias", 1f32).with("lambd", 1.5f32),
            Sample::new([Tensor::vector(vec![-2i32, 0, 3])]),
        ]
    },
};

/// `Shrink`.
#[derive(Debug, Clone, Copy)]
pub struct Shrink {
    /// How far elements are moved.
    pub bias: f64,
    /// Elements no further than this from zero become zero.
    pub lambd: f64,
}

impl Op for Shrink {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let shrink = |x: f64| match x {
            _ if x < -self.lambd => x + self.bias,
            _ if x > self.lambd => x - self.bias,
            _ => 0.0,
        };
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), x.to_f64_vec()?.into_iter().map(shrink).collect())?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_one(vjp, |dy, x, _| dy.clone().when(&x.greater(self.lambd), dy.when(&x.less(-self.lambd), 0.0)))
    }
}
