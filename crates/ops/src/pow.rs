//! `Pow`: aᵇ with broadcasting, in the type of a.
//!
//! <https://onnx.ai/onnx/operators/onnx__Pow.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::binary::Alignment;
use crate::convert::{Conversion, convert};
use crate::elementwise::zip;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_broadcast, x, y};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Pow",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Pow { alignment: Alignment::read(node)? })),
    samples: || {
        let base = || Tensor::new([2, 2], vec![1.5f32, -2.0, 0.0, 3.0]);
        vec![
            Sample::new(base().into_iter().chain([Tensor::scalar(2f32)])),
            Sample::new(base().into_iter().chain([Tensor::vector(vec![3i64, 0])])),
            Sample::new([Tensor::vector(vec![0.5f32, 2.0]), Tensor::vector(vec![-1.5f32, 3.0])]),
            Sample::new([Tensor::vector(vec![-3i32, 2]), Tensor::vector(vec![3i32, 31])]),
        ]
    },
};

/// `Pow`.
#[derive(Debug, Clone, Copy)]
pub struct Pow {
    pub(crate) alignment: Alignment,
}

impl Op for Pow {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { dtype: inputs.dtype(0), ..self.alignment.infer(inputs, None)? }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (base, exponent) = (inputs.required(0)?, inputs.required(1)?);
        let exponent = self.alignment.lined_up(base, exponent)?;
        let (dtype, conversion) = (base.dtype(), Conversion::default());
        let result = if dtype.is_float() || exponent.dtype().is_float() {
            let wide = |x: &Tensor| Ok::<_, OpError>(Tensor::new(x.shape(), x.to_f64_vec()?)?);
            zip::<f64, f64>(&wide(base)?, &wide(&exponent)?, |x, y| x.powf(*y))?
        } else {
            let wide = |x: &Tensor| Ok::<_, OpError>(Tensor::new(x.shape(), x.to_i64_vec()?)?);
            zip::<i64, i64>(&wide(base)?, &wide(&exponent)?, |x, y| int_power(*x, *y))?
        };
        Ok(vec![convert(&result, dtype, conversion)?])
    }

    /// The exponent's is 0 where the base is not positive: there is none.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        if self.alignment != Alignment::Last {
            return Err(NoGradient);
        }
        let (dtype, exponent_is_real) =
            (vjp.facts.dtype(0).ok_or(NoGradient)?, vjp.facts.dtype(1) == vjp.facts.dtype(0));
        of_broadcast(vjp, |vjp, dy| {
            let (base, exponent, y) = (x(vjp, 0)?, x(vjp, 1)?, y(vjp, 0)?);
            let exponent = if exponent_is_real { exponent } else { exponent.cast(dtype) };
            let slope = exponent.clone() * Expr::of("Pow", [base.clone(), exponent.clone() - 1.0]);
            let to_base = dy.clone() * Expr::from(0.0).when(&exponent.equal(0.0), slope);
            let logarithm = base.clone().when(&base.greater(0.0), 1.0).apply("Log");
            Ok(vec![Some(to_base), exponent_is_real.then(|| dy * y * logarithm)])
        })
    }
}

/// Wraps around; a negative exponent gives the inverse cut towards zero.
fn int_power(x: i64, y: i64) -> i64 {
    match (x, u64::try_from(y)) {
        (1, _) => 1,
        (-1, _) => {
            if y % 2 == 0 {
                1
            } else {
                -1
            }
        }
        (_, Err(_)) => 0,
        (_, Ok(y)) => {
            let (mut result, mut square, mut left) = (1i64, x, y);
            while left > 0 {
                if left & 1 == 1 {
                    result = result.wrapping_mul(square);
                }
                square = square.wrapping_mul(square);
                left >>= 1;
            }
            result
        }
    }
}
