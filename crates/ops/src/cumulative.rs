//! Running sums and products along an axis.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, NodeReader, Op, OpError, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::axes::{axis, split_at};
use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x};
use crate::numeric::{from_f64, from_i64};

/// `CumSum` or `CumProd`.
#[derive(Debug, Clone, Copy)]
pub struct Cumulative {
    /// Products instead of sums.
    pub is_product: bool,
    /// Without the element itself.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

impl Cumulative {
    pub(crate) fn read(node: &NodeReader<'_>, is_product: bool) -> Result<Arc<dyn Op>, OpError> {
        let (exclusive, reverse) = (node.flag_or("exclusive", false)?, node.flag_or("reverse", false)?);
        Ok(Arc::new(Self { is_product, exclusive, reverse }))
    }

    fn run<T: Copy>(&self, x: &[T], [outer, length, inner]: [usize; 3], start: T, join: impl Fn(T, T) -> T) -> Vec<T> {
        let mut out = x.to_vec();
        for o in 0..outer {
            for i in 0..inner {
                let mut total = start;
                for step in 0..length {
                    let position = if self.reverse { length - 1 - step } else { step };
                    let at = (o * length + position) * inner + i;
                    let joined = join(total, x[at]);
                    out[at] = if self.exclusive { total } else { joined };
                    total = joined;
                }
            }
        }
        out
    }
}

impl Op for Cumulative {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let axis = axis(inputs.required(1)?.to_i64()?, x.rank())?;
        let (outer, length, inner) = split_at(x.shape(), axis);
        let lanes = [outer, length, inner];
        let shape = x.shape().to_vec();
        let result = if x.dtype().is_float() {
            let values = x.to_f64_vec()?;
            let sums = match self.is_product {
                true => self.run(&values, lanes, 1.0, |a, b| a * b),
                false => self.run(&values, lanes, 0.0, |a, b| a + b),
            };
            from_f64(x.dtype(), shape, sums)?
        } else {
            let values = x.to_i64_vec()?;
            let sums = match self.is_product {
                true => self.run(&values, lanes, 1, i64::wrapping_mul),
                false => self.run(&values, lanes, 0, i64::wrapping_add),
            };
            from_i64(x.dtype(), shape, sums)?
        };
        Ok(vec![result])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        if self.is_product {
            return Err(NoGradient);
        }
        of_output(vjp, |vjp, dy| {
            let sum = Expr::of("CumSum", [dy, x(vjp, 1)?]).with("exclusive", i64::from(self.exclusive));
            Ok(vec![Some(sum.with("reverse", i64::from(!self.reverse)))])
        })
    }
}

pub(crate) fn samples() -> Vec<Sample> {
    let x = || Tensor::new([2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let case = |axis: i32| Sample::new(x().into_iter().chain([Tensor::scalar(axis)]));
    vec![
        case(0),
        case(-1).with("exclusive", 1i64),
        case(1).with("reverse", 1i64),
        case(1).with("reverse", 1i64).with("exclusive", 1i64),
    ]
}
