//! `MatMul`: matrix product, batched over leading axes that broadcast.
//!
//! <https://onnx.ai/onnx/operators/onnx__MatMul.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{
    Attributes, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, ValueId, Vjp, WeightAxes,
};
use lissom_tensor::{DType, Tensor};

use crate::elementwise::two;
use crate::gradient::{input, node, output_gradient, sum_to_input, transposed};
use crate::numeric::{from_f64, from_i64, is_wide_float};
use crate::product::{Product, product_dims};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "MatMul",
    domain: "",
    since: 1,
    read: |_| Ok(Arc::new(MatMul)),
    samples: || {
        vec![
            Sample::new([ramp(&[3, 4]), ramp(&[4, 2])]),
            Sample::new([ramp(&[2, 1, 3, 4]), ramp(&[5, 4, 2])]),
            Sample::new([ramp(&[4]), ramp(&[2, 4, 3])]),
            Sample::new([ramp(&[0, 4]), ramp(&[4, 3])]),
            Sample::new([filled(&[1, 2], vec![i32::MAX, 1]), filled(&[2, 1], vec![1i32, 1])]),
        ]
    },
};

/// `MatMul`: `[…, m, k] · […, k, n]`; a vector on either side loses its axis again.
#[derive(Debug, Clone, Copy)]
pub struct MatMul;

impl Op for MatMul {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0).or(inputs.dtype(1));
        let (Some(a), Some(b)) = (inputs.shape(0), inputs.shape(1)) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        Ok(vec![Fact::maybe(dtype, Some(product_dims(a, b)?))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = two(inputs)?;
        let product = Product::of(a.shape(), b.shape())?;
        let shape = product.out_shape.clone();
        if is_wide_float(a.dtype()) {
            return Ok(vec![from_f64(a.dtype(), shape, product.run_f64(&a.to_f64_vec()?, &b.to_f64_vec()?))?]);
        }
        if !matches!(a.dtype(), DType::I32 | DType::I64 | DType::U32 | DType::U64) {
            return Err(OpError::UnsupportedType { index: 0, actual: a.dtype() });
        }
        Ok(vec![from_i64(a.dtype(), shape, product.run_i64(&a.to_i64_vec()?, &b.to_i64_vec()?))?])
    }

    /// A matrix on the right is a layer's weight.
    fn weight_axes(&self, inputs: &Facts<'_>) -> Option<WeightAxes> {
        let is_matrix = inputs.get(1).rank() == Some(2);
        is_matrix.then_some(WeightAxes { weight_input: 1, bias_input: None, c_out: 1, c_in: 0, groups: 1 })
    }

    fn macs(&self, inputs: &[Option<Vec<usize>>], outputs: &[Vec<usize>]) -> u64 {
        let (Some(Some(a)), Some(out)) = (inputs.first(), outputs.first()) else { return 0 };
        let k = a.last().map_or(1, |&k| k as u64);
        out.iter().fold(k, |macs, &length| macs.saturating_mul(length as u64))
    }

    /// `gradient · bᵀ` and `aᵀ · gradient`, summed over broadcast axes. Vectors are left out.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<Vec<Option<ValueId>>, NoGradient> {
        let Some(gradient) = output_gradient(vjp) else { return Ok(vec![None, None]) };
        let (a, b) = (vjp.facts.shape(0).ok_or(NoGradient)?, vjp.facts.shape(1).ok_or(NoGradient)?);
        let joined = product_dims(a, b).map_err(|_| NoGradient)?;
        let (Some(a_row), Some(b_row)) = (a.len().checked_sub(2), b.len().checked_sub(2)) else {
            return Err(NoGradient);
        };
        let batch = &joined[..joined.len() - 2];
        let a_dims = [batch, &a[a_row..]].concat();
        let b_dims = [batch, &b[b_row..]].concat();
        let (a_value, b_value) = (input(vjp, 0)?, input(vjp, 1)?);
        let (a_turned, b_turned) = (transposed(vjp, a_value, a.len())?, transposed(vjp, b_value, b.len())?);
        let a_gradient = node(vjp, "MatMul", &[gradient, b_turned], Attributes::new())?;
        let b_gradient = node(vjp, "MatMul", &[a_turned, gradient], Attributes::new())?;
        Ok(vec![Some(sum_to_input(vjp, a_gradient, &a_dims, 0)?), Some(sum_to_input(vjp, b_gradient, &b_dims, 1)?)])
    }
}
