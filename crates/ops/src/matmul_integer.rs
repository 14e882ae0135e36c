//! `MatMulInteger`: product of 8-bit codes less their zero points, in 32 bits.
//!
//! <https://onnx.ai/onnx/operators/onnx__MatMulInteger.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::numeric::from_i64;
use crate::product::{Product, product_dims};
use crate::quantization::{code_values, spread_matrix};
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "MatMulInteger",
    domain: "",
    since: 10,
    read: |_| Ok(Arc::new(MatMulInteger)),
    samples: || {
        let a = || filled(&[2, 3], vec![11u8, 7, 3, 255, 0, 2]);
        let b = || filled(&[3, 2], vec![1i8, -4, 127, -128, 3, 6]);
        vec![
            Sample::new([a(), b()]),
            Sample::new([a(), b(), Tensor::scalar(12u8), Tensor::vector(vec![1i8, -1])]),
            Sample::new([a(), b(), Tensor::vector(vec![12u8, 3])]),
        ]
    },
};

/// `MatMulInteger`: inputs A, B, and zero points: one, one a row of A, or one a column of B.
#[derive(Debug, Clone, Copy)]
pub struct MatMulInteger;

impl Op for MatMulInteger {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (Some(a), Some(b)) = (inputs.shape(0), inputs.shape(1)) else {
            return Ok(vec![Fact::maybe(Some(DType::I32), None)]);
        };
        Ok(vec![Fact::new(DType::I32, product_dims(a, b)?)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        let product = Product::of(a.shape(), b.shape())?;
        let a = centred(0, a, 2, inputs.optional(2), true)?;
        let b = centred(1, b, 3, inputs.optional(3), false)?;
        let sums = product.run_f64(&a, &b);
        Ok(vec![from_i64(DType::I32, product.out_shape, sums.into_iter().map(|sum| sum as i64).collect())?])
    }
}

/// Codes less their zero points: sums of products of such numbers are exact in f64.
///
/// # Errors
/// [`OpError::BadShape`], [`OpError::UnsupportedType`].
pub(crate) fn centred(
    index: usize,
    codes: &Tensor,
    zero_index: usize,
    zero_point: Option<&Tensor>,
    per_row: bool,
) -> Result<Vec<f64>, OpError> {
    let mut values = code_values(index, codes)?;
    if let Some(zero_point) = zero_point {
        let zeros = code_values(zero_index, zero_point)?;
        let zeros = spread_matrix(zero_index, zero_point, &zeros, codes.shape(), per_row)?;
        values.iter_mut().zip(zeros).for_each(|(value, zero)| *value -= zero);
    }
    Ok(values)
}
