//! `Clip`: each element brought between two bounds; NaN stays NaN.
//!
//! <https://onnx.ai/onnx/operators/onnx__Clip.html>

use std::any::Any;
use std::sync::Arc;

use half::{bf16, f16};
use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Element, Storage, Tensor};

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, optional_x, x};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Clip",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Clip { min: node.float("min")?, max: node.float("max")? }))
    },
    samples: || {
        let x = || Tensor::vector(vec![-2.5f32, 0.5, 9.0, f32::NAN]);
        vec![
            Sample::new([x(), Tensor::scalar(-1f32), Tensor::scalar(1f32)]),
            Sample { inputs: vec![Some(x()), None, Some(Tensor::scalar(6f32))], ..Sample::new([]) },
            Sample::new([Tensor::vector(vec![-3i8, 3]), Tensor::scalar(0i8)]),
            Sample::new([x()]),
            Sample::new([Tensor::vector(vec![-2.5f32, 0.5, 9.0]), Tensor::scalar(-1f32), Tensor::scalar(1f32)]),
        ]
    },
};

/// `Clip`.
#[derive(Debug, Clone, Copy)]
pub struct Clip {
    /// Lower bound of opsets before 11; input 1 since.
    pub min: Option<f32>,
    /// Upper bound of opsets before 11; input 2 since.
    pub max: Option<f32>,
}

impl Op for Clip {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let storage = match x.storage() {
            Storage::F32(v) => Storage::F32(clip(v, bounds(inputs, [self.min, self.max])?)),
            Storage::F64(v) => {
                Storage::F64(clip(v, bounds(inputs, [self.min.map(f64::from), self.max.map(f64::from)])?))
            }
            Storage::F16(v) => {
                Storage::F16(clip(v, bounds(inputs, [self.min.map(f16::from_f32), self.max.map(f16::from_f32)])?))
            }
            Storage::BF16(v) => {
                Storage::BF16(clip(v, bounds(inputs, [self.min.map(bf16::from_f32), self.max.map(bf16::from_f32)])?))
            }
            Storage::I8(v) => Storage::I8(clip(v, bounds(inputs, [None, None])?)),
            Storage::I16(v) => Storage::I16(clip(v, bounds(inputs, [None, None])?)),
            Storage::I32(v) => Storage::I32(clip(v, bounds(inputs, [None, None])?)),
            Storage::I64(v) => Storage::I64(clip(v, bounds(inputs, [None, None])?)),
            Storage::U8(v) => Storage::U8(clip(v, bounds(inputs, [None, None])?)),
            Storage::U16(v) => Storage::U16(clip(v, bounds(inputs, [None, None])?)),
            Storage::U32(v) => Storage::U32(clip(v, bounds(inputs, [None, None])?)),
            Storage::U64(v) => Storage::U64(clip(v, bounds(inputs, [None, None])?)),
            _ => return Err(OpError::UnsupportedType { index: 0, actual: x.dtype() }),
        };
        Ok(vec![Tensor::from_storage(x.shape().to_vec(), storage)?])
    }

    /// At a bound it is that of x.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let bound = |vjp: &Vjp<'_>, index: usize, attribute: Option<f32>| {
            optional_x(vjp, index).or_else(|| attribute.map(|bound| Expr::from(f64::from(bound))))
        };
        of_output(vjp, |vjp, dy| {
            let (x, min, max) = (x(vjp, 0)?, bound(vjp, 1, self.min), bound(vjp, 2, self.max));
            let is_low = min.as_ref().map(|min| x.less(min.clone()));
            let raised = match (&is_low, &min) {
                (Some(is_low), Some(min)) => min.clone().when(is_low, x),
                _ => x,
            };
            // The upper bound wins.
            let is_high = max.as_ref().map(|max| raised.greater(max.clone()));
            let below = is_high.as_ref().map_or(dy.clone(), |is_high| Expr::from(0.0).when(is_high, dy.clone()));
            let to_x = is_low.as_ref().map_or(below.clone(), |is_low| Expr::from(0.0).when(is_low, below.clone()));
            let to_bound = |gradient: Expr, applies: Option<Expr>, bound: Option<Expr>| {
                Some(gradient.when(&applies?, 0.0).total().reshape_like(&bound?))
            };
            Ok(vec![Some(to_x), to_bound(below, is_low, min), to_bound(dy, is_high, max)])
        })
    }
}

/// The inputs' bounds where given, else these.
fn bounds<T: Element>(inputs: &Inputs<'_>, attributes: [Option<T>; 2]) -> Result<[Option<T>; 2], OpError> {
    let [min, max] = attributes;
    let input = |index: usize, attribute: Option<T>| match inputs.optional(index) {
        None => Ok(attribute),
        Some(bound) => match bound.as_slice::<T>()? {
            [bound] => Ok(Some(bound.clone())),
            _ => Err(OpError::shape(index, bound.shape(), "a bound is one number")),
        },
    };
    Ok([input(1, min)?, input(2, max)?])
}

/// The upper bound wins where the bounds cross.
fn clip<T: Copy + PartialOrd>(values: &[T], [min, max]: [Option<T>; 2]) -> Vec<T> {
    let low = |x: T| min.filter(|&min| x < min).unwrap_or(x);
    let high = |x: T| max.filter(|&max| x > max).unwrap_or(x);
    values.iter().map(|&x| high(low(x))).collect()
}
