//! `QLinearConv`: convolution of codes, given as codes again.
//!
//! <https://onnx.ai/onnx/operators/onnx__QLinearConv.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::Conv;
use crate::conv_integer::centred_weight;
use crate::qlinear_matmul::requantized;
use crate::quantization::{code_values, encode, only_scale, only_zero_point, scale_values};
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QLinearConv",
    domain: "",
    since: 10,
    read: |node| Ok(Arc::new(QLinearConv { conv: Conv::read(node)? })),
    samples: || {
        let inputs = |w_scale: Tensor, w_zero: Tensor| {
            [
                filled(&[1, 2, 3, 3], (0..18).map(|i| i * 13).collect::<Vec<u8>>()),
                Tensor::scalar(0.05f32),
                Tensor::scalar(100u8),
                filled(&[2, 2, 2, 2], (0..16i32).map(|i| (i * 9 - 60) as i8).collect::<Vec<i8>>()),
                w_scale,
                w_zero,
                Tensor::scalar(4f32),
                Tensor::scalar(30u8),
                Tensor::vector(vec![1000i32, -500]),
            ]
        };
        vec![
            Sample::new(inputs(Tensor::scalar(0.1f32), Tensor::scalar(0i8))),
            Sample::new(inputs(Tensor::vector(vec![0.1f32, 0.2]), Tensor::vector(vec![1i8, -2])))
                .with("pads", vec![1i64, 1, 1, 1]),
        ]
    },
};

/// `QLinearConv`: codes, scale and zero point of x, of the weight, scale and zero point of the result, i32 bias.
#[derive(Debug, Clone)]
pub struct QLinearConv {
    /// Window and groups.
    pub conv: Conv,
}

impl Op for QLinearConv {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let facts = self.conv.infer(&Facts(&[inputs.optional(0), inputs.optional(3)]))?;
        Ok(facts.into_iter().map(|fact| Fact { dtype: inputs.dtype(7), ..fact }).collect())
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, weight, bias, y_zero) =
            (inputs.required(0)?, inputs.required(3)?, inputs.optional(8), inputs.required(7)?);
        let x_zero = only_zero_point(2, Some(inputs.required(2)?))?;
        let x_values: Vec<f64> = code_values(0, x)?.into_iter().map(|code| code - x_zero).collect();
        let weights = centred_weight(3, weight, 5, Some(inputs.required(5)?))?;
        let bias_values = bias.map(Tensor::to_f64_vec).transpose()?;
        let (shape, sums) = self.conv.convolve(x, &x_values, weight, &weights, bias, bias_values.as_deref())?;
        let w_scale = inputs.required(4)?;
        let w_scales = scale_values(4, w_scale)?;
        if w_scales.len() != 1 && w_scales.len() != shape[1] {
            return Err(OpError::shape(4, w_scale.shape(), format!("expected one scale, or {}", shape[1])));
        }
        let (x_scale, y_scale) = (only_scale(1, inputs.required(1)?)?, only_scale(6, inputs.required(6)?)?);
        let zero = only_zero_point(7, Some(y_zero))?;
        let channel_len = sums.len().checked_div(shape[0] * shape[1]).unwrap_or(0).max(1);
        let values = sums.iter().enumerate().map(|(i, &sum)| {
            let w_scale = w_scales[i / channel_len % w_scales.len()];
            // Per-channel scales repeat for each image of the batch, as channels do.
            (requantized(sum, x_scale, w_scale, y_scale), zero)
        });
        Ok(vec![encode(y_zero.dtype(), shape, true, values)?])
    }
}
