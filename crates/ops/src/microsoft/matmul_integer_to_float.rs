//! `MatMulIntegerToFloat`: product of codes, given as reals.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{Tensor, broadcast_shapes, flat_indices};

use crate::matmul_integer::centred;
use crate::numeric::{floats, from_f64};
use crate::product::{Product, product_dims};
use crate::quantization::spread_matrix;
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "MatMulIntegerToFloat",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(MatMulIntegerToFloat)),
    samples: || {
        vec![Sample::new([
            filled(&[2, 3], vec![11u8, 7, 3, 255, 0, 2]),
            filled(&[3, 2], vec![1i8, -4, 127, -128, 3, 6]),
            Tensor::scalar(0.1f32),
            Tensor::vector(vec![0.5f32, 0.25]),
            Tensor::scalar(100u8),
            Tensor::vector(vec![1i8, -1]),
            Tensor::vector(vec![10f32, -10.0]),
        ])]
    },
};

/// `MatMulIntegerToFloat`: inputs a, b, their scales, their zero points, bias.
#[derive(Debug, Clone, Copy)]
struct MatMulIntegerToFloat;

impl Op for MatMulIntegerToFloat {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(2);
        let (Some(a), Some(b)) = (inputs.shape(0), inputs.shape(1)) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        Ok(vec![Fact::maybe(dtype, Some(product_dims(a, b)?))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        let product = Product::of(a.shape(), b.shape())?;
        let a = centred(0, a, 4, inputs.optional(4), true)?;
        let b = centred(1, b, 5, inputs.optional(5), false)?;
        let sums = product.run_f64(&a, &b);
        let y = scaled(inputs, [2, 3, 6], &product.out_shape, sums)?;
        Ok(vec![from_f64(inputs.required(2)?.dtype(), product.out_shape, y)?])
    }
}

/// Sums of products of codes times both scales, plus a bias: the inputs at these indices.
pub(super) fn scaled(
    inputs: &Inputs<'_>,
    [a_scale, b_scale, bias]: [usize; 3],
    shape: &[usize],
    mut sums: Vec<f64>,
) -> Result<Vec<f64>, OpError> {
    for (index, per_row) in [(a_scale, true), (b_scale, false)] {
        let scale = inputs.required(index)?;
        let factors = spread_matrix(index, scale, &floats(index, scale)?, shape, per_row)?;
        sums.iter_mut().zip(factors).for_each(|(sum, factor)| *sum *= factor);
    }
    if let Some(added) = inputs.optional(bias) {
        if broadcast_shapes(added.shape(), shape)? != shape {
            return Err(OpError::shape(bias, added.shape(), format!("does not broadcast to {shape:?}")));
        }
        let values = floats(bias, added)?;
        if !sums.is_empty() {
            sums.iter_mut().zip(flat_indices(added.shape(), shape)).for_each(|(sum, i)| *sum += values[i]);
        }
    }
    Ok(sums)
}
