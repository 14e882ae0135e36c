//! Codes in, codes out, reals between: what the `QLinear…` operators share.

use lissom_graph::{Fact, Facts, Inputs, Op, OpError};
use lissom_tensor::{Tensor, broadcast_shapes, checked_len, flat_indices};

use crate::elementwise::{infer_broadcast, infer_same};
use crate::quantization::{code_values, divide, encode, only_scale, only_zero_point};

/// The reals that the codes at input `index` stand for; scale and zero point follow them.
///
/// # Errors
/// [`OpError::BadShape`], [`OpError::UnsupportedType`], [`OpError::MissingInput`].
pub(super) fn decoded(inputs: &Inputs<'_>, index: usize) -> Result<Vec<f64>, OpError> {
    let scale = only_scale(index + 1, inputs.required(index + 1)?)?;
    let zero = only_zero_point(index + 2, inputs.optional(index + 2))?;
    Ok(code_values(index, inputs.required(index)?)?.into_iter().map(|code| (code - zero) * scale).collect())
}

/// Reals as codes of the type of input 0; the scale is input `index`, the zero point follows.
///
/// # Errors
/// As [`decoded`].
pub(super) fn coded(inputs: &Inputs<'_>, index: usize, shape: Vec<usize>, values: &[f64]) -> Result<Tensor, OpError> {
    let scale_input = inputs.required(index)?;
    let (scale, zero) = (only_scale(index, scale_input)?, only_zero_point(index + 1, inputs.optional(index + 1))?);
    let dtype = inputs.optional(index + 1).map_or(inputs.required(0)?.dtype(), Tensor::dtype);
    encode(dtype, shape, true, values.iter().map(|&value| (divide(value, scale, scale_input.dtype()), zero)))
}

/// A function of one number: inputs x, its scale and zero point, those of the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct QLinearUnary {
    /// The function; the second number is `alpha`.
    pub f: fn(f64, f64) -> f64,
    pub alpha: f64,
}

impl Op for QLinearUnary {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let values: Vec<f64> = decoded(inputs, 0)?.into_iter().map(|x| (self.f)(x, self.alpha)).collect();
        Ok(vec![coded(inputs, 3, inputs.required(0)?.shape().to_vec(), &values)?])
    }
}

/// A function of two numbers, broadcasting: codes, scale, zero point of a, of b, scale and zero point of the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct QLinearBinary {
    pub f: fn(f64, f64) -> f64,
}

impl Op for QLinearBinary {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_broadcast(&Facts(&[inputs.optional(0), inputs.optional(3)]))?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (inputs.required(0)?, inputs.required(3)?);
        let (x, y) = (decoded(inputs, 0)?, decoded(inputs, 3)?);
        let shape = broadcast_shapes(a.shape(), b.shape())?;
        let values: Vec<f64> = if checked_len(lissom_tensor::DType::F64, &shape)? == 0 {
            Vec::new()
        } else {
            let pairs = flat_indices(a.shape(), &shape).zip(flat_indices(b.shape(), &shape));
            pairs.map(|(i, j)| (self.f)(x[i], y[j])).collect()
        };
        Ok(vec![coded(inputs, 6, shape, &values)?])
    }
}
