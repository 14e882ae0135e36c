//! Operators that are one function of one number: computed in f64 and rounded once, so that each is as exact as its
//! type allows.

use lissom_graph::{OpError, Sample};
use lissom_tensor::Tensor;

use crate::elementwise::map_float;

/// `f` of every element of a floating point tensor.
///
/// # Errors
/// [`OpError::UnsupportedType`] for integers and the rest.
pub(crate) fn map(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor, OpError> {
    map_float(x, |x| f(f64::from(x)) as f32, &f)
}

/// Implements [`Op`](lissom_graph::Op) for a type with a method `apply(&self, x: f64) -> f64`: floats in, the same type
/// and shape out.
/// With a gradient: its formula from those of the output, the input and the output.
macro_rules! float_unary {
    ($op:ty) => {
        $crate::unary::float_unary!($op, fn = |_, _vjp| Err(lissom_graph::NoGradient));
    };
    ($op:ty, gradient = |$op_value:pat_param, $dy:pat_param, $x:pat_param, $y:pat_param| $formula:expr) => {
        $crate::unary::float_unary!(
            $op,
            fn = |op: &$op, vjp| {
                let $op_value = *op;
                $crate::gradient::of_one(vjp, |$dy, $x, $y| $formula)
            }
        );
    };
    ($op:ty, constant_between_steps) => {
        $crate::unary::float_unary!($op, fn = |_, vjp| $crate::gradient::constant_between_steps(vjp));
    };
    ($op:ty, fn = $vjp:expr) => {
        impl lissom_graph::Op for $op {
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }

            fn infer(
                &self,
                inputs: &lissom_graph::Facts<'_>,
            ) -> Result<Vec<lissom_graph::Fact>, lissom_graph::OpError> {
                Ok(vec![$crate::elementwise::infer_same(inputs)])
            }

            fn evaluate(
                &self,
                inputs: &lissom_graph::Inputs<'_>,
            ) -> Result<Vec<lissom_tensor::Tensor>, lissom_graph::OpError> {
                Ok(vec![$crate::unary::map(inputs.required(0)?, |x| self.apply(x))?])
            }

            fn vjp(
                &self,
                vjp: &mut lissom_graph::Vjp<'_>,
            ) -> Result<Vec<Option<lissom_graph::ValueId>>, lissom_graph::NoGradient> {
                let found: fn(
                    &$op,
                    &mut lissom_graph::Vjp<'_>,
                ) -> Result<Vec<Option<lissom_graph::ValueId>>, lissom_graph::NoGradient> = $vjp;
                found(self, vjp)
            }
        }
    };
}

pub(crate) use float_unary;

/// Cases of an operator that takes any number.
pub(crate) fn samples() -> Vec<Sample> {
    let matrix = Tensor::new([2, 3], vec![-3.5f32, -1.0, -0.25, 0.5, 1.25, 4.0]);
    vec![
        Sample::new(matrix),
        Sample::new([Tensor::vector(vec![0.0f64, -0.5, 2.0])]),
        Sample::new([Tensor::vector(Vec::<f32>::new())]),
    ]
}

/// Cases of an operator that takes positive numbers.
pub(crate) fn positive_samples() -> Vec<Sample> {
    vec![
        Sample::new(Tensor::new([2, 2], vec![0.5f32, 1.0, 2.25, 9.0])),
        Sample::new([Tensor::scalar(3.0f64)]),
        Sample::new([Tensor::vector(Vec::<f32>::new())]),
    ]
}

/// Cases of an operator that takes numbers between −1 and 1: outside it is NaN.
pub(crate) fn unit_samples() -> Vec<Sample> {
    let inside = Tensor::vector(vec![-0.9f32, -0.25, 0.0, 0.125, 0.75]);
    samples().into_iter().chain([Sample::new([inside])]).collect()
}

/// A numeric tensor mapped: floats with the first function (in f64), signed and unsigned integers with the others.
macro_rules! map_numeric {
    ($tensor:expr, float = $float:expr, signed = |$i:ident| $signed:expr, unsigned = |$u:ident| $unsigned:expr) => {{
        use lissom_tensor::Storage;
        let tensor: &lissom_tensor::Tensor = $tensor;
        let storage = match tensor.storage() {
            Storage::I8(v) => Storage::I8(v.iter().map(|&$i| $signed).collect()),
            Storage::I16(v) => Storage::I16(v.iter().map(|&$i| $signed).collect()),
            Storage::I32(v) => Storage::I32(v.iter().map(|&$i| $signed).collect()),
            Storage::I64(v) => Storage::I64(v.iter().map(|&$i| $signed).collect()),
            Storage::U8(v) => Storage::U8(v.iter().map(|&$u| $unsigned).collect()),
            Storage::U16(v) => Storage::U16(v.iter().map(|&$u| $unsigned).collect()),
            Storage::U32(v) => Storage::U32(v.iter().map(|&$u| $unsigned).collect()),
            Storage::U64(v) => Storage::U64(v.iter().map(|&$u| $unsigned).collect()),
            _ => return Ok(vec![$crate::unary::map(tensor, $float)?]),
        };
        Ok(vec![lissom_tensor::Tensor::from_storage(tensor.shape().to_vec(), storage)?])
    }};
}

pub(crate) use map_numeric;

/// Cases of an operator that takes any number of any type.
pub(crate) fn numeric_samples() -> Vec<Sample> {
    let ints = Tensor::vector(vec![-7i32, 0, 7, i32::MIN]);
    let bytes = Tensor::vector(vec![0u8, 7, u8::MAX]);
    samples().into_iter().chain([Sample::new([ints]), Sample::new([bytes])]).collect()
}
