//! `PRelu`: x, or slope · x below zero, with one slope for each channel or element.
//!
//! <https://onnx.ai/onnx/operators/onnx__PRelu.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::binary::Alignment;
use crate::elementwise::{infer_same, zip_numeric};
use crate::gradient::{Gradients, of_broadcast, x};

pub(crate) const OP: OpSpec = OpSpec {
    name: "PRelu",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(PRelu { by_channel: node.opset() < 7 }))
    },
    samples: || {
        let x = || Tensor::new([2, 3], vec![-1f32, 2.0, -3.0, 0.0, -0.5, 4.0]);
        vec![
            Sample::new(x().into_iter().chain([Tensor::vector(vec![0.5f32, 2.0, 0.1])])),
            Sample::new(x().into_iter().chain([Tensor::scalar(0.25f32)])),
            Sample::new([Tensor::vector(vec![-2i32, 3]), Tensor::vector(vec![4i32, 4])]),
        ]
    },
};

/// `PRelu`.
#[derive(Debug, Clone, Copy)]
pub struct PRelu {
    /// Before opset 7 a vector of slopes belongs to axis 1.
    pub(crate) by_channel: bool,
}

impl Op for PRelu {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let is_vector = self.by_channel && x.rank() > 1 && inputs.required(1)?.rank() == 1;
        let alignment = if is_vector && inputs.required(1)?.len() > 1 { Alignment::From(1) } else { Alignment::Last };
        let (x, slope) = alignment.two(inputs)?;
        let y = zip_numeric!(
            x,
            &slope,
            float = |x, slope| if x < 0.0 { x * slope } else { x },
            int = |x, slope| if x < 0 as _ { x.wrapping_mul(slope) } else { x }
        )?;
        if y.shape() != x.shape() {
            return Err(OpError::shape(1, slope.shape(), format!("does not broadcast to {:?}", x.shape())));
        }
        Ok(vec![y])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        if self.by_channel {
            return Err(NoGradient);
        }
        of_broadcast(vjp, |vjp, dy| {
            let (x, slope) = (x(vjp, 0)?, x(vjp, 1)?);
            let is_positive = x.greater(0.0);
            let to_x = dy.clone().when(&is_positive, dy.clone() * slope);
            Ok(vec![Some(to_x), Some(crate::expression::Expr::from(0.0).when(&is_positive, dy * x))])
        })
    }
}
