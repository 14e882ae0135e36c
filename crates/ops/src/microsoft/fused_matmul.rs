//! `FusedMatMul`: alpha · A · B, either transposed on request.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Strided, Tensor, strides};

use crate::elementwise::two;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_expansion, rank, x};
use crate::numeric::{floats, from_f64};
use crate::product::{Product, product_dims};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "FusedMatMul",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        if node.flag_or("transBatchA", false)? || node.flag_or("transBatchB", false)? {
            return Err(OpError::unsupported("`transBatchA` and `transBatchB`"));
        }
        Ok(Arc::new(FusedMatMul {
            alpha: node.float_or("alpha", 1.0)?,
            trans_a: node.flag_or("transA", false)?,
            trans_b: node.flag_or("transB", false)?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 3, 4]), ramp(&[2, 5, 4])]).with("transB", 1i64).with("alpha", 0.5f32),
            Sample::new([ramp(&[4, 3]), ramp(&[4, 2])]).with("transA", 1i64),
        ]
    },
};

/// `FusedMatMul`.
#[derive(Debug, Clone, Copy)]
struct FusedMatMul {
    alpha: f32,
    trans_a: bool,
    trans_b: bool,
}

impl Op for FusedMatMul {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0).or(inputs.dtype(1));
        let (Some(a), Some(b)) = (inputs.shape(0), inputs.shape(1)) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        let turned = |x: &[Dim], is_turned: bool| {
            let mut x = x.to_vec();
            let rank = x.len();
            if is_turned && rank > 1 {
                x.swap(rank - 2, rank - 1);
            }
            x
        };
        Ok(vec![Fact::maybe(dtype, Some(product_dims(&turned(a, self.trans_a), &turned(b, self.trans_b))?))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = two(inputs)?;
        let (a, b) = (turned(a, self.trans_a)?, turned(b, self.trans_b)?);
        let product = Product::of(a.shape(), b.shape())?;
        let mut values = product.run_f64(&floats(0, &a)?, &floats(1, &b)?);
        values.iter_mut().for_each(|x| *x *= f64::from(self.alpha));
        Ok(vec![from_f64(a.dtype(), product.out_shape, values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let ranks = (rank(vjp, 0)?, rank(vjp, 1)?);
        of_expansion(vjp, |vjp| {
            let (a, b) = (oriented(x(vjp, 0)?, ranks.0, self.trans_a), oriented(x(vjp, 1)?, ranks.1, self.trans_b));
            Ok(vec![Some(Expr::of("MatMul", [a, b]) * f64::from(self.alpha))])
        })
    }
}

/// The last two axes exchanged.
fn turned(x: &Tensor, is_turned: bool) -> Result<Tensor, OpError> {
    let rank = x.rank();
    if !is_turned || rank < 2 {
        return Ok(x.clone());
    }
    let mut shape = x.shape().to_vec();
    shape.swap(rank - 2, rank - 1);
    if x.is_empty() {
        return Ok(x.reshape(shape)?);
    }
    let mut steps: Vec<isize> = strides(x.shape()).into_iter().map(|step| step as isize).collect();
    steps.swap(rank - 2, rank - 1);
    Ok(x.pick(shape.clone(), Strided::new(shape, steps, 0))?)
}

/// Matrices, exchanged rows and columns if asked for; a vector stays one.
fn oriented(x: Expr, rank: usize, is_turned: bool) -> Expr {
    let mut order: Vec<i64> = (0..rank as i64).collect();
    match rank.checked_sub(2) {
        Some(row) if is_turned => order.swap(row, row + 1),
        _ => return x,
    }
    x.transpose(order)
}
