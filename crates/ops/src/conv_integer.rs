//! `ConvInteger`: convolution of 8-bit codes less their zero points, in 32 bits.
//!
//! <https://onnx.ai/onnx/operators/onnx__ConvInteger.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::Conv;
use crate::numeric::from_i64;
use crate::quantization::{code_values, only_zero_point};
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "ConvInteger",
    domain: "",
    since: 10,
    read: |node| Ok(Arc::new(ConvInteger { conv: Conv::read(node)? })),
    samples: || {
        let x = || filled(&[1, 2, 3, 3], (0..18).map(|i| i * 13).collect::<Vec<u8>>());
        let weight = || filled(&[2, 2, 2, 2], (0..16i32).map(|i| (i * 9 - 60) as i8).collect::<Vec<i8>>());
        vec![
            Sample::new([x(), weight()]),
            Sample::new([x(), weight(), Tensor::scalar(100u8), Tensor::vector(vec![3i8, -4])])
                .with("pads", vec![1i64, 1, 1, 1]),
        ]
    },
};

/// `ConvInteger`: inputs x, weight, zero point of x, zero point of the weight (one, or one an output channel).
#[derive(Debug, Clone)]
pub struct ConvInteger {
    /// Window and groups.
    pub conv: Conv,
}

impl Op for ConvInteger {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let facts = self.conv.infer(inputs)?;
        Ok(facts.into_iter().map(|fact| Fact { dtype: Some(DType::I32), ..fact }).collect())
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, weight) = (inputs.required(0)?, inputs.required(1)?);
        let x_zero = only_zero_point(2, inputs.optional(2))?;
        let x_values: Vec<f64> = code_values(0, x)?.into_iter().map(|code| code - x_zero).collect();
        let weights = centred_weight(1, weight, 3, inputs.optional(3))?;
        let (shape, sums) = self.conv.convolve(x, &x_values, weight, &weights, None, None)?;
        Ok(vec![from_i64(DType::I32, shape, sums.into_iter().map(|sum| sum as i64).collect())?])
    }
}

/// Codes of a weight less the zero point, which is one for all or one for each output channel (axis 0).
///
/// # Errors
/// [`OpError::BadShape`], [`OpError::UnsupportedType`].
pub(crate) fn centred_weight(
    index: usize,
    weight: &Tensor,
    zero_index: usize,
    zero_point: Option<&Tensor>,
) -> Result<Vec<f64>, OpError> {
    let mut values = code_values(index, weight)?;
    let Some(zero_point) = zero_point else { return Ok(values) };
    let zeros = code_values(zero_index, zero_point)?;
    let channels = weight.shape().first().copied().unwrap_or(0);
    if zeros.len() != 1 && zeros.len() != channels {
        let reason = format!("expected one zero point, or one for each of {channels} channels");
        return Err(OpError::shape(zero_index, zero_point.shape(), reason));
    }
    let channel_len = values.len().checked_div(channels).unwrap_or(0).max(1);
    for (i, value) in values.iter_mut().enumerate() {
        *value -= zeros[i / channel_len % zeros.len()];
    }
    Ok(values)
}
