//! `Gemm`: alpha · A · B + beta · C, either matrix transposed on request.
//!
//! <https://onnx.ai/onnx/operators/onnx__Gemm.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{
    Attributes, Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, ValueId, Vjp, WeightAxes,
};
use lissom_tensor::{DType, Tensor, broadcast_shapes, flat_indices};

use crate::elementwise::two;
use crate::gradient::{input, node, output_gradient, scaled, sum_to_input};
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

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<Vec<Option<ValueId>>, NoGradient> {
        let Some(gradient) = output_gradient(vjp) else { return Ok(vec![None; vjp.inputs.len()]) };
        let (a, b) = (input(vjp, 0)?, input(vjp, 1)?);
        let product = |vjp: &mut Vjp<'_>, left: (ValueId, bool), right: (ValueId, bool)| {
            let flags = Attributes::new().with("transA", i64::from(left.1)).with("transB", i64::from(right.1));
            node(vjp, "Gemm", &[left.0, right.0], flags.with("alpha", self.alpha))
        };
        let a_gradient = if self.trans_a {
            product(vjp, (b, self.trans_b), (gradient, true))?
        } else {
            product(vjp, (gradient, false), (b, !self.trans_b))?
        };
        let b_gradient = if self.trans_b {
            product(vjp, (gradient, true), (a, self.trans_a))?
        } else {
            product(vjp, (a, !self.trans_a), (gradient, false))?
        };
        let mut gradients = vec![Some(a_gradient), Some(b_gradient)];
        if input(vjp, 2).is_ok() {
            let joined = self.infer(&vjp.facts).ok().and_then(|facts| facts.into_iter().next()?.shape);
            let dtype = vjp.facts.dtype(2);
            let c_gradient = sum_to_input(vjp, gradient, &joined.ok_or(NoGradient)?, 2)?;
            gradients.push(Some(scaled(vjp, c_gradient, self.beta.into(), dtype)?));
        }
        Ok(gradients)
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
