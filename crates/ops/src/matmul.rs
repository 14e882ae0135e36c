//! `MatMul`: matrix product, batched over leading axes that broadcast.
//!
//! <https://onnx.ai/onnx/operators/onnx__MatMul.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp, WeightAxes};
use lissom_tensor::{DType, Tensor};

use crate::elementwise::two;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, sum_to, x};
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

    /// `dy · bᵀ` and `aᵀ · dy`, summed over broadcast axes. A vector is a matrix of one row or column.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let (a_dims, b_dims) = (vjp.facts.shape(0).ok_or(NoGradient)?, vjp.facts.shape(1).ok_or(NoGradient)?);
            let (a_is_row, b_is_column) = (a_dims.len() == 1, b_dims.len() == 1);
            let row = |dims: &[Dim]| [&[Dim::Known(1)], dims].concat();
            let a_dims = if a_is_row { row(a_dims) } else { a_dims.to_vec() };
            let b_dims = if b_is_column { [b_dims, &[Dim::Known(1)]].concat() } else { b_dims.to_vec() };
            let joined = product_dims(&a_dims, &b_dims).map_err(|_| NoGradient)?;
            let (a, b) = (x(vjp, 0)?, x(vjp, 1)?);
            let a = if a_is_row { a.unsqueeze([0]) } else { a };
            let b = if b_is_column { b.unsqueeze([1]) } else { b };
            let dy = if b_is_column { dy.unsqueeze([-1]) } else { dy };
            let dy = if a_is_row { dy.unsqueeze([-2]) } else { dy };
            let to_a = Expr::of("MatMul", [dy.clone(), turned(b, b_dims.len())]);
            // A matrix gathers the products of all rows of all batches in one.
            if b_dims.len() == 2 && a_dims.len() > 2 && !b_is_column {
                let rows = |x: Expr| Expr::of("Flatten", [x]).with("axis", a_dims.len() as i64 - 1);
                let to_b = Expr::of("Gemm", [rows(a), rows(dy)]).with("transA", 1i64);
                return Ok(vec![Some(to_a), Some(to_b)]);
            }
            let to_b = Expr::of("MatMul", [turned(a, a_dims.len()), dy]);
            let batch = &joined[..joined.len() - 2];
            let summed = |gradient: Expr, own: &[Dim], is_vector: bool, one: i64, index: usize| {
                if is_vector {
                    let leading: Vec<i64> = (0..batch.len() as i64).collect();
                    return Ok(gradient.sum(leading, false).squeeze([one]));
                }
                sum_to(vjp, gradient, Some(&[batch, &own[own.len() - 2..]].concat()), index)
            };
            Ok(vec![Some(summed(to_a, &a_dims, a_is_row, 0, 0)?), Some(summed(to_b, &b_dims, b_is_column, 1, 1)?)])
        })
    }
}

/// Matrices with rows and columns exchanged.
fn turned(x: Expr, rank: usize) -> Expr {
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(rank - 2, rank - 1);
    x.transpose(order)
}
