//! `QLinearSoftmax`: softmax of codes, given as codes again.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use super::qlinear::{coded, decoded};
use crate::elementwise::infer_same;
use crate::sample_data::filled;
use crate::softmax_axis::{SoftmaxAxis, softmax};

pub(crate) const OP: OpSpec = OpSpec {
    name: "QLinearSoftmax",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        // The version of `Softmax` it was made from.
        let opset = node.int("opset")?.ok_or_else(|| OpError::attribute("opset", "is missing"))?;
        let axis = SoftmaxAxis { axis: node.int_or("axis", -1)?, flattens: opset < 13 };
        Ok(Arc::new(QLinearSoftmax { axis }))
    },
    samples: || {
        let sample = || {
            Sample::new([
                filled(&[2, 2, 3], vec![0u8, 10, 128, 200, 255, 77, 3, 3, 3, 9, 90, 250]),
                Tensor::scalar(0.05f32),
                Tensor::scalar(128u8),
                Tensor::scalar(1f32 / 256.0),
                Tensor::scalar(0u8),
            ])
        };
        vec![sample().with("opset", 13i64), sample().with("opset", 12i64).with("axis", 1i64)]
    },
};

/// `QLinearSoftmax`: inputs codes, scale, zero point, scale and zero point of the result.
#[derive(Debug, Clone, Copy)]
struct QLinearSoftmax {
    axis: SoftmaxAxis,
}

impl Op for QLinearSoftmax {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let shape = inputs.required(0)?.shape();
        let mut values = decoded(inputs, 0)?;
        self.axis.apply(shape, &mut values, softmax)?;
        Ok(vec![coded(inputs, 3, shape.to_vec(), &values)?])
    }
}
