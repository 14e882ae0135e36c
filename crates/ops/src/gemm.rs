//! `Gemm`: alpha · A · B + beta · C, either matrix transposed on request.
//!
//! <https://onnx.ai/onnx/operators/onnx__Gemm.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp, WeightAxes};
use lissom_tensor::{DType, Tensor, broadcast_shapes, flat_indices};

use crate::elementwise::two;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, optional_x, sum_to, x};
use crate::numeric::{from_f64, from_i64, is_wide_float};
use crate::product::{Product, product_dims};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Gemm",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["broadcast"]); // until opset 6; broadcasting is now allowed without asking
        Ok(Arc::new(Gemm {
            alpha: node.float_or("alpha", 1.0)?,
            beta: node.float_or("beta", 1.0)?,
            trans_a: node.flag_or("transA", false)?,
            trans_b: node.flag_or("transB", false)?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[3, 4]), ramp(&[5, 4]), ramp(&[5])]).with("transB", 1i64),
            Sample::new([ramp(&[4, 3]), ramp(&[4, 2]), ramp(&[3, 1])])
                .with("transA", 1i64)
                .with("alpha", 0.5f32)
                .with("beta", 2.0f32),
            Sample::new([ramp(&[2, 3]), ramp(&[3, 2])]),
        ]
    },
};

/// `Gemm`: matrices only; C broadcasts to `[m, n]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of C.
    pub beta: f32,
    /// A is given as `[k, m]`.
    pub trans_a: bool,
    /// B is given as `[n, k]`.
    pub trans_b: bool,
}

impl Op for Gemm {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0).or(inputs.dtype(1));
        let (Some(a), Some(b)) = (inputs.shape(0), inputs.shape(1)) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        let (a, b) = (oriented(a, self.trans_a)?, oriented(b, self.trans_b)?);
        let shape: Vec<Dim> = product_dims(&a, &b)?;
        Ok(vec![Fact::maybe(dtype, Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = two(inputs)?;
        let (a, b) = (turned(0, a, self.trans_a)?, turned(1, b, self.trans_b)?);
        let product = Product::of(a.shape(), b.shape())?;
        let shape = product.out_shape.clone();
        let c = inputs.optional(2);
        if let Some(c) = c
            && broadcast_shapes(c.shape(), &shape)? != shape
        {
            return Err(OpError::shape(2, c.shape(), format!("does not broadcast to {shape:?}")));
        }
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        if is_wide_float(a.dtype()) {
            let mut out = product.run_f64(&a.to_f64_vec()?, &b.to_f64_vec()?);
            if alpha != 1.0 {
                out.iter_mut().for_each(|out| *out *= alpha);
            }
            if let Some(c) = c {
                let values = c.to_f64_vec()?;
                out.iter_mut().zip(flat_indices(c.shape(), &shape)).for_each(|(out, i)| *out += beta * values[i]);
            }
            return Ok(vec![from_f64(a.dtype(), shape, out)?]);
        }
        if !matches!(a.dtype(), DType::I32 | DType::I64 | DType::U32 | DType::U64) {
            return Err(OpError::UnsupportedType { index: 0, actual: a.dtype() });
        }
        let scaled = |value: i64, factor: f64| if factor == 1.0 { value } else { (value as f64 * factor) as i64 };
        let mut out = product.run_i64(&a.to_i64_vec()?, &b.to_i64_vec()?);
        out.iter_mut().for_each(|out| *out = scaled(*out, alpha));
        if let Some(c) = c {
            let values = c.to_i64_vec()?;
            let added = out.iter_mut().zip(flat_indices(c.shape(), &shape));
            added.for_each(|(out, i)| *out = out.wrapping_add(scaled(values[i], beta)));
        }
        Ok(vec![from_i64(a.dtype(), shape, out)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let joined = self.infer(&vjp.facts).ok().and_then(|facts| facts.into_iter().next()?.shape);
        of_output(vjp, |vjp, dy| {
            let (a, b) = ((x(vjp, 0)?, self.trans_a), (x(vjp, 1)?, self.trans_b));
            let product = |(left, trans_a): (Expr, bool), (right, trans_b): (Expr, bool)| {
                let product = Expr::of("Gemm", [left, right]).with("transA", i64::from(trans_a));
                product.with("transB", i64::from(trans_b)).with("alpha", self.alpha)
            };
            let turned = |(matrix, is_turned): (Expr, bool)| (matrix, !is_turned);
            let plain = (dy.clone(), false);
            let to_a = if self.trans_a { product(b, (dy.clone(), true)) } else { product(plain.clone(), turned(b)) };
            let to_b = if self.trans_b { product((dy.clone(), true), a) } else { product(turned(a), plain) };
            let Some(_) = optional_x(vjp, 2) else { return Ok(vec![Some(to_a), Some(to_b)]) };
            let to_c = sum_to(vjp, dy, joined.as_deref(), 2)?;
            let to_c = if self.beta == 1.0 { to_c } else { to_c * f64::from(self.beta) };
            Ok(vec![Some(to_a), Some(to_b), Some(to_c)])
        })
    }

    fn weight_axes(&self, _inputs: &Facts<'_>) -> Option<WeightAxes> {
        let (c_out, c_in) = if self.trans_b { (0, 1) } else { (1, 0) };
        Some(WeightAxes { weight_input: 1, bias_input: Some(2), c_out, c_in, groups: 1 })
    }

    fn macs(&self, inputs: &[Option<Vec<usize>>], outputs: &[Vec<usize>]) -> u64 {
        let (Some(Some(a)), Some(out)) = (inputs.first(), outputs.first()) else { return 0 };
        let k = a.get(usize::from(!self.trans_a)).map_or(0, |&k| k as u64);
        out.iter().fold(k, |macs, &length| macs.saturating_mul(length as u64))
    }
}

fn oriented(shape: &[Dim], transposed: bool) -> Result<Vec<Dim>, OpError> {
    match shape {
        [rows, columns] if transposed => Ok(vec![columns.clone(), rows.clone()]),
        [_, _] => Ok(shape.to_vec()),
        _ => Err(OpError::value(format!("expected a matrix, found {} axes", shape.len()))),
    }
}

/// The matrix, transposed if asked for.
///
/// # Errors
/// [`OpError::BadShape`] if it is no matrix.
pub(crate) fn turned(index: usize, x: &Tensor, transposed: bool) -> Result<Tensor, OpError> {
    match *x.shape() {
        [_, _] if !transposed => Ok(x.clone()),
        [rows, columns] => {
            let indices = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
            Ok(x.pick([columns, rows], indices)?)
        }
        _ => Err(OpError::shape(index, x.shape(), "expected a matrix")),
    }
}
