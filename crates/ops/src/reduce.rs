//! Reductions over axes: what the `Reduce…` operators share. Each has a file with its name, documentation and samples.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, NodeReader, Op, OpError, Sample, Vjp};
use lissom_tensor::{DType, Storage, Strided, Tensor, checked_len, strides};

use crate::axes::axes;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, shared_among_equal, x, y};
use crate::numeric::{from_f64, from_i64, is_wide_float};
use crate::sample_data::{positive, ramp};

/// What becomes of the reduced values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the operators' own names
pub enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

/// A `Reduce…` operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    /// Which one.
    pub reduction: Reduction,
    /// Axes as the attribute gives them; newer opsets have input 1 instead.
    pub axes: Option<Vec<i64>>,
    /// Reduced axes stay, with length 1.
    pub keepdims: bool,
    /// No axes means none instead of all.
    pub noop_with_empty_axes: bool,
}

impl Reduce {
    /// Reads a reduction whose axes are an input from opset `axes_input_since` on.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`].
    pub(crate) fn read(
        node: &NodeReader<'_>,
        reduction: Reduction,
        axes_input_since: u32,
    ) -> Result<Arc<dyn Op>, OpError> {
        let has_axes_input = node.opset() >= axes_input_since;
        Ok(Arc::new(Self {
            reduction,
            axes: if has_axes_input { None } else { node.ints("axes")? },
            keepdims: node.flag_or("keepdims", true)?,
            noop_with_empty_axes: has_axes_input && node.flag_or("noop_with_empty_axes", false)?,
        }))
    }

    /// For each axis whether it is reduced.
    fn reduced(&self, given: Option<&[i64]>, rank: usize) -> Result<Vec<bool>, OpError> {
        let given = given.or(self.axes.as_deref()).unwrap_or_default();
        if given.is_empty() {
            return Ok(vec![!self.noop_with_empty_axes; rank]);
        }
        let chosen = axes(given, rank)?;
        Ok((0..rank).map(|axis| chosen.contains(&axis)).collect())
    }
}

impl Op for Reduce {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0);
        let Some(x) = inputs.shape(0) else { return Ok(vec![Fact::maybe(dtype, None)]) };
        let given = match inputs.optional(1) {
            None => None,
            Some(fact) => match fact.i64s() {
                Some(axes) => Some(axes),
                None => return Ok(vec![Fact::maybe(dtype, None)]),
            },
        };
        let reduced = self.reduced(given.as_deref(), x.len())?;
        let dims = x.iter().zip(&reduced).filter_map(|(dim, &reduced)| match (reduced, self.keepdims) {
            (false, _) => Some(dim.clone()),
            (true, true) => Some(Dim::Known(1)),
            (true, false) => None,
        });
        Ok(vec![Fact::maybe(dtype, Some(dims.collect()))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let given = inputs.optional(1).map(Tensor::to_i64_vec).transpose()?;
        let reduced = self.reduced(given.as_deref(), x.rank())?;
        let kept: Vec<usize> = x.shape().iter().zip(&reduced).map(|(&d, &r)| if r { 1 } else { d }).collect();
        let len = checked_len(DType::F64, &kept)?;
        let groups = Groups { shape: x.shape(), reduced: &reduced, kept: &kept, len };
        let out = if is_wide_float(x.dtype()) {
            from_f64(x.dtype(), kept.clone(), reduce_floats(self.reduction, &x.to_f64_vec()?, &groups))?
        } else {
            reduce_integers(self.reduction, x, &groups)?
        };
        if self.keepdims {
            return Ok(vec![out]);
        }
        let shape: Vec<usize> = x.shape().iter().zip(&reduced).filter(|(_, r)| !**r).map(|(&d, _)| d).collect();
        Ok(vec![out.reshape(shape)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let dims = vjp.facts.shape(0).ok_or(NoGradient)?;
        let given = vjp.facts.optional(1).map(|fact| fact.i64s().ok_or(NoGradient)).transpose()?;
        let reduced = self.reduced(given.as_deref(), dims.len()).map_err(|_| NoGradient)?;
        let axes: Vec<i64> = (0..).zip(&reduced).filter(|(_, reduced)| **reduced).map(|(axis, _)| axis).collect();
        let count = dims.iter().zip(&reduced).filter(|(_, reduced)| **reduced).map(|(dim, _)| dim.known());
        let count = count.product::<Option<usize>>();
        let dtype = vjp.facts.dtype(0).ok_or(NoGradient)?;
        of_output(vjp, |vjp, dy| {
            let (x, y) = (x(vjp, 0)?, y(vjp, 0)?);
            let kept = |value: Expr| if self.keepdims { value } else { value.unsqueeze(axes.clone()) };
            let (dy, y) = (kept(dy), kept(y));
            Ok(vec![Some(match self.reduction {
                Reduction::Sum => dy.expand_like(&x),
                Reduction::Mean => match count {
                    Some(count) => (dy / count as f64).expand_like(&x),
                    None => (dy / (x.clone().apply("Size") / y.apply("Size")).cast(dtype)).expand_like(&x),
                },
                Reduction::Max | Reduction::Min => shared_among_equal(dy, &x, y, &axes),
                Reduction::Prod => dy * product_of_others(&x, &axes),
                Reduction::L1 => dy * x.apply("Sign"),
                // At the origin it is 0.
                Reduction::L2 => dy * x / Expr::from(1.0).when(&y.equal(0.0), y),
                Reduction::SumSquare => dy * x * 2.0,
                Reduction::LogSum => (dy / y.apply("Exp")).expand_like(&x),
                Reduction::LogSumExp => dy * (x - y).apply("Exp"),
            })])
        })
    }
}

/// For each element the product of the others over the axes: also right where elements are zero.
fn product_of_others(x: &Expr, axes: &[i64]) -> Expr {
    let is_zero = x.equal(0.0);
    let ones = Expr::from(1.0).when(&is_zero, x.clone());
    let product = ones.clone().reduce("ReduceProd", axes, true);
    let n_zeros = Expr::from(1.0).when(&is_zero, 0.0).sum(axes, true);
    let without_zeros = (product.clone() / ones).when(&n_zeros.equal(0.0), 0.0);
    product.when(&n_zeros.equal(1.0), 0.0).when(&is_zero, without_zeros)
}

/// Which elements are reduced to which.
struct Groups<'a> {
    shape: &'a [usize],
    reduced: &'a [bool],
    kept: &'a [usize],
    len: usize,
}

impl Groups<'_> {
    /// Folds the values of each group, in order.
    fn fold<T: Copy, A: Copy>(&self, values: &[T], init: A, f: impl Fn(A, T) -> A) -> Vec<A> {
        self.fold_with(values, init, |_, sum, value| f(sum, value))
    }

    /// The same, where `f` also gets the position of the group.
    fn fold_with<T: Copy, A: Copy>(&self, values: &[T], init: A, f: impl Fn(usize, A, T) -> A) -> Vec<A> {
        let mut out = vec![init; self.len];
        if values.is_empty() {
            return out;
        }
        let steps = strides(self.kept);
        let steps = steps.iter().zip(self.reduced).map(|(&step, &reduced)| if reduced { 0 } else { step as isize });
        for (&value, group) in values.iter().zip(Strided::new(self.shape.to_vec(), steps.collect(), 0)) {
            out[group] = f(group, out[group], value);
        }
        out
    }
}

fn reduce_floats(reduction: Reduction, values: &[f64], groups: &Groups<'_>) -> Vec<f64> {
    let sum = |f: fn(f64) -> f64| groups.fold(values, 0.0, |sum, x: f64| sum + f(x));
    let each = |mut sums: Vec<f64>, f: &dyn Fn(f64) -> f64| {
        sums.iter_mut().for_each(|sum| *sum = f(*sum));
        sums
    };
    // NaN wins, as in NumPy.
    let max = || groups.fold(values, f64::NEG_INFINITY, |a, b: f64| if b > a || b.is_nan() { b } else { a });
    match reduction {
        Reduction::Sum => sum(|x| x),
        Reduction::Mean => {
            let count = groups.fold(values, 0.0, |count: f64, _| count + 1.0);
            sum(|x| x).iter().zip(count).map(|(sum, count)| sum / count).collect()
        }
        Reduction::Max => max(),
        Reduction::Min => groups.fold(values, f64::INFINITY, |a, b: f64| if b < a || b.is_nan() { b } else { a }),
        Reduction::Prod => groups.fold(values, 1.0, |product, x: f64| product * x),
        Reduction::L1 => sum(f64::abs),
        Reduction::L2 => each(sum(|x| x * x), &f64::sqrt),
        Reduction::SumSquare => sum(|x| x * x),
        Reduction::LogSum => each(sum(|x| x), &f64::ln),
        Reduction::LogSumExp => {
            let max: Vec<f64> = max().iter().map(|&max| if max.is_infinite() { 0.0 } else { max }).collect();
            let sums = groups.fold_with(values, 0.0, |group, sum, x: f64| sum + (x - max[group]).exp());
            sums.iter().zip(max).map(|(sum, max)| sum.ln() + max).collect()
        }
    }
}

/// Sums and products wrap around, as the types do; what has no exact integer form is computed in f64 and cut.
fn reduce_integers(reduction: Reduction, x: &Tensor, groups: &Groups<'_>) -> Result<Tensor, OpError> {
    let dtype = x.dtype();
    let shape = groups.kept.to_vec();
    let wrapped = |values: Vec<i64>| from_i64(dtype, shape.clone(), values);
    match reduction {
        Reduction::Mean | Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp => {
            return from_f64(dtype, shape, reduce_floats(reduction, &x.to_f64_vec()?, groups));
        }
        Reduction::Max | Reduction::Min => return extremes(reduction == Reduction::Max, x, groups),
        Reduction::Sum | Reduction::Prod | Reduction::L1 | Reduction::SumSquare => {}
    }
    let values = x.to_i64_vec()?;
    wrapped(match reduction {
        Reduction::Prod => groups.fold(&values, 1i64, |product, x: i64| product.wrapping_mul(x)),
        Reduction::L1 if dtype != DType::U64 => {
            groups.fold(&values, 0i64, |sum, x: i64| sum.wrapping_add(x.wrapping_abs()))
        }
        Reduction::SumSquare => groups.fold(&values, 0i64, |sum, x: i64| sum.wrapping_add(x.wrapping_mul(x))),
        _ => groups.fold(&values, 0i64, |sum, x: i64| sum.wrapping_add(x)),
    })
}

fn extremes(largest: bool, x: &Tensor, groups: &Groups<'_>) -> Result<Tensor, OpError> {
    let shape = groups.kept.to_vec();
    if let Storage::U64(values) = x.storage() {
        let out = if largest { groups.fold(values, 0, u64::max) } else { groups.fold(values, u64::MAX, u64::min) };
        return Ok(Tensor::new(shape, out)?);
    }
    let (low, high) = match x.dtype() {
        DType::Bool => (0, 1),
        dtype => {
            let (low, high) = dtype.int_range().ok_or(OpError::UnsupportedType { index: 0, actual: dtype })?;
            (low as i64, high as i64)
        }
    };
    let values = x.to_i64_vec()?;
    let out = if largest { groups.fold(&values, low, i64::max) } else { groups.fold(&values, high, i64::min) };
    from_i64(x.dtype(), shape, out)
}

/// Samples for any reduction in its newest form, axes as an input.
pub(crate) fn samples() -> Vec<Sample> {
    vec![
        Sample::new([positive(&[2, 3, 4]), Tensor::vector(vec![1i64])]),
        Sample::new([positive(&[2, 3, 4]), Tensor::vector(vec![-1i64, 0])]).with("keepdims", 0i64),
        Sample::new([ramp(&[3, 2])]),
        Sample::new([Tensor::vector(vec![2f32, 0.0, -3.0])]),
        Sample::new([ramp(&[2, 0, 3]), Tensor::vector(vec![1i64])]),
        Sample::new([Tensor::vector(vec![3i32, 1, 2])]),
    ]
}
