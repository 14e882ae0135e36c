//! `DynamicQuantizeMatMul`: reals quantized on the way, times codes, given as reals.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use super::matmul_integer_to_float::scaled;
use crate::DynamicQuantizeLinear;
use crate::matmul_integer::centred;
use crate::numeric::from_f64;
use crate::product::{Product, product_dims};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "DynamicQuantizeMatMul",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(DynamicQuantizeMatMul)),
    samples: || {
        vec![Sample::new([
            ramp(&[2, 3]),
            filled(&[3, 2], vec![1i8, -4, 127, -128, 3, 6]),
            Tensor::scalar(0.1f32),
            Tensor::scalar(3i8),
            Tensor::vector(vec![10f32, -10.0]),
        ])]
    },
};

/// `DynamicQuantizeMatMul`: inputs A, b, its scale and zero point, bias.
#[derive(Debug, Clone, Copy)]
struct DynamicQuantizeMatMul;

impl Op for DynamicQuantizeMatMul {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (Some(a), Some(b)) = (inputs.shape(0), inputs.shape(1)) else {
            return Ok(vec![Fact::maybe(Some(DType::F32), None)]);
        };
        Ok(vec![Fact::new(DType::F32, product_dims(a, b)?)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, b) = (inputs.required(0)?, inputs.required(1)?);
        let product = Product::of(x.shape(), b.shape())?;
        let quantized = DynamicQuantizeLinear.evaluate(&Inputs(&[Some(x)]))?;
        let [codes, scale, zero_point] = &quantized[..] else { return Ok(Vec::new()) };
        let a = centred(0, codes, 0, Some(zero_point), true)?;
        let b = centred(1, b, 3, inputs.optional(3), false)?;
        let sums = product.run_f64(&a, &b);
        let own = [Some(scale), Some(inputs.required(2)?), inputs.optional(4)];
        let y = scaled(&Inputs(&own), [0, 1, 2], &product.out_shape, sums)?;
        Ok(vec![from_f64(DType::F32, product.out_shape, y)?])
    }
}
