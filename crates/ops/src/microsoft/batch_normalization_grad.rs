//! `BatchNormalizationGrad`: the gradients of `BatchNormalization` in training.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "BatchNormalizationGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        node.ignore(&["epsilon"]); // the saved deviation has it
        Ok(Arc::new(BatchNormalizationGrad))
    },
    samples: || {
        let sample = |shape: &[usize]| {
            Sample::new([ramp(shape), positive(shape), ramp(&[3]), ramp(&[3]), positive(&[3])]).outputs(3)
        };
        vec![sample(&[2, 3, 2, 2]), sample(&[4, 3]), sample(&[0, 3, 2])]
    },
};

/// `BatchNormalizationGrad`: inputs dY, X `[n, c, …]`, scale, the batch's mean and 1 / √(variance + epsilon) `[c]`; outputs
/// dX, dScale, dBias.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormalizationGrad;

impl Op for BatchNormalizationGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let like = |index: usize| Fact::maybe(inputs.dtype(index), inputs.shape(index).map(<[_]>::to_vec));
        Ok(vec![like(1), like(2), like(2)])
    }

    /// With x̂ the normalized x, m the elements of a channel and sums over them: `dBias = Σ dY`, `dScale = Σ dY · x̂`,
    /// `dX = scale / deviation · (dY − (dBias + x̂ · dScale) / m)`.
    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, x, scale) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        expect_shape(0, dy, x.shape())?;
        let &[batch, channels, ref spatial @ ..] = x.shape() else {
            return Err(OpError::shape(1, x.shape(), "expected at least 2 axes"));
        };
        for index in 2..5 {
            expect_shape(index, inputs.required(index)?, &[channels])?;
        }
        let (mean, inverse) = (floats(3, inputs.required(3)?)?, floats(4, inputs.required(4)?)?);
        let channel_len: usize = if x.is_empty() { 1 } else { spatial.iter().product() };
        let count = batch as f64 * channel_len as f64;
        let channel = |i: usize| i / channel_len % channels;
        let (gradient, scales) = (floats(0, dy)?, floats(2, scale)?);
        let normalized: Vec<f64> =
            floats(1, x)?.iter().enumerate().map(|(i, x)| (x - mean[channel(i)]) * inverse[channel(i)]).collect();
        let (mut to_scale, mut to_bias) = (vec![0.0; channels], vec![0.0; channels]);
        for (i, (dy, x)) in gradient.iter().zip(&normalized).enumerate() {
            to_scale[channel(i)] += dy * x;
            to_bias[channel(i)] += dy;
        }
        let to_x = gradient.iter().zip(&normalized).enumerate().map(|(i, (dy, x))| {
            let c = channel(i);
            scales[c] * inverse[c] * (dy - (to_bias[c] + x * to_scale[c]) / count)
        });
        Ok(vec![
            from_f64(x.dtype(), x.shape().to_vec(), to_x.collect())?,
            from_f64(scale.dtype(), vec![channels], to_scale)?,
            from_f64(scale.dtype(), vec![channels], to_bias)?,
        ])
    }
}
