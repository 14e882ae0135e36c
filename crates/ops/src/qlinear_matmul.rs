//! `QLinearMatMul`: product of codes, given as codes again.
//!
//! <https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::matmul_integer::centred;
use crate::product::{Product, product_dims};
use crate::quantization::{encode, only_scale, only_zero_point, scale_values, spread_matrix};
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QLinearMatMul",
    domain: "",
    since: 10,
    read: |_| Ok(Arc::new(QLinearMatMul)),
    samples: || {
        let a = || filled(&[2, 3], vec![11u8, 7, 3, 255, 0, 2]);
        let b = || filled(&[3, 2], vec![1i8, -4, 127, -128, 3, 6]);
        let with = |b_scale: Tensor, b_zero: Tensor| {
            Sample::new([
                a(),
                Tensor::scalar(0.05f32),
                Tensor::scalar(100u8),
                b(),
                b_scale,
                b_zero,
                Tensor::scalar(0.9f32),
                Tensor::scalar(7u8),
            ])
        };
        vec![
            with(Tensor::scalar(0.1f32), Tensor::scalar(2i8)),
            with(Tensor::vector(vec![0.1f32, 0.3]), Tensor::vector(vec![2i8, -2])),
        ]
    },
};

/// `QLinearMatMul`: codes, scale and zero point of a, of b, then scale and zero point of the result.
#[derive(Debug, Clone, Copy)]
pub struct QLinearMatMul;

impl Op for QLinearMatMul {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(7);
        let (Some(a), Some(b)) = (inputs.shape(0), inputs.shape(3)) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        Ok(vec![Fact::maybe(dtype, Some(product_dims(a, b)?))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b, y_zero) = (inputs.required(0)?, inputs.required(3)?, inputs.required(7)?);
        let product = Product::of(a.shape(), b.shape())?;
        let sums = product.run_f64(
            &centred(0, a, 2, Some(inputs.required(2)?), true)?,
            &centred(3, b, 5, Some(inputs.required(5)?), false)?,
        );
        let shape = product.out_shape;
        let (a_scale, b_scale) = (inputs.required(1)?, inputs.required(4)?);
        let a_scales = spread_matrix(1, a_scale, &scale_values(1, a_scale)?, &shape, true)?;
        let b_scales = spread_matrix(4, b_scale, &scale_values(4, b_scale)?, &shape, false)?;
        let (y_scale, zero) = (only_scale(6, inputs.required(6)?)?, only_zero_point(7, Some(y_zero))?);
        let values = sums
            .iter()
            .zip(a_scales.iter().zip(&b_scales))
            .map(|(&sum, (&a_scale, &b_scale))| (requantized(sum, a_scale, b_scale, y_scale), zero));
        Ok(vec![encode(y_zero.dtype(), shape, true, values)?])
    }
}

/// A 32-bit sum of products in steps of the output: one f32 factor, one f32 product, as other runtimes do it.
pub(crate) fn requantized(sum: f64, a_scale: f64, b_scale: f64, y_scale: f64) -> f64 {
    let factor = a_scale as f32 * b_scale as f32 / y_scale as f32;
    f64::from(sum as f32 * factor)
}
