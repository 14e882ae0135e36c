//! `InstanceNormalization`: normalizes each channel of each image, then scales and shifts.
//!
//! <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::gradient::{Gradients, normalized, of_expansion, rank, x};
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "InstanceNormalization",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(InstanceNormalization { epsilon: node.float_or("epsilon", 1e-5)? }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 3, 4, 2]), ramp(&[3]), ramp(&[3])]),
            Sample::new([ramp(&[1, 2, 5]), ramp(&[2]), ramp(&[2])]).with("epsilon", 0.1f32),
            Sample::new([ramp(&[1, 2, 0]), ramp(&[2]), ramp(&[2])]),
        ]
    },
};

/// `InstanceNormalization`: inputs x `[n, c, …]`, scale and bias `[c]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstanceNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Op for InstanceNormalization {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, scale, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let &[_, channels, ..] = x.shape() else {
            return Err(OpError::shape(0, x.shape(), "expected at least 2 axes"));
        };
        expect_shape(1, scale, &[channels])?;
        expect_shape(2, bias, &[channels])?;
        let (mut values, scale, bias) = (floats(0, x)?, floats(1, scale)?, floats(2, bias)?);
        let image_len = if x.is_empty() { 1 } else { x.shape()[2..].iter().product() };
        for (i, image) in values.chunks_exact_mut(image_len).enumerate() {
            normalize(image, self.epsilon.into());
            let (scale, bias) = (scale[i % channels], bias[i % channels]);
            image.iter_mut().for_each(|x| *x = *x * scale + bias);
        }
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let rank = rank(vjp, 0)?;
        let axes: Vec<i64> = (2..rank as i64).collect();
        of_expansion(vjp, |vjp| {
            let scaled = normalized(x(vjp, 0)?, &axes, self.epsilon.into()) * x(vjp, 1)?.on_channels(rank);
            Ok(vec![Some(scaled + x(vjp, 2)?.on_channels(rank))])
        })
    }
}

/// Takes the mean off and divides by √(population variance + epsilon).
pub(crate) fn normalize(values: &mut [f64], epsilon: f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance + epsilon).sqrt();
    values.iter_mut().for_each(|x| *x = (*x - mean) / deviation);
}
