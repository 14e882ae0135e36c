//! Operators on two numbers with broadcasting, and how opsets before 7 lined the two inputs up.

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, NodeReader, OpError, Sample, Vjp};
use lissom_tensor::{DType, Tensor};

use crate::elementwise::{infer_broadcast, infer_broadcast_as, infer_same, two};
use crate::expression::Expr;
use crate::gradient::{Gradients, of_broadcast, x};
use crate::lengths::{is_symbolic, lengths, lengths_fact};

/// How the second input lines up with the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Both by their last axes, as NumPy does.
    Last,
    /// Before opset 7, `axis`: the first axis of the second input is this one of the first; negative from the end.
    From(i64),
}

impl Alignment {
    /// Reads `broadcast` and `axis` of old opsets.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`].
    pub(crate) fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        if node.opset() >= 7 {
            return Ok(Self::Last);
        }
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        let (broadcast, axis) = (node.flag_or("broadcast", false)?, node.int("axis")?);
        Ok(axis.filter(|_| broadcast).map_or(Self::Last, Self::From))
    }

    /// Both inputs, ready for NumPy's rules.
    ///
    /// # Errors
    /// [`OpError::MissingInput`], [`OpError::TypeMismatch`], [`OpError::BadValue`] if the axis does not exist.
    pub(crate) fn two<'a>(self, inputs: &Inputs<'a>) -> Result<(&'a Tensor, Tensor), OpError> {
        let (a, b) = two(inputs)?;
        let b = self.lined_up(a, b)?;
        Ok((a, b))
    }

    /// `b` with axes of length 1 at its end, as many as it takes.
    pub(crate) fn lined_up(self, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
        let Self::From(axis) = self else { return Ok(b.clone()) };
        let first = if axis < 0 { axis.saturating_add(a.rank() as i64) } else { axis };
        let behind = usize::try_from(first).ok().and_then(|first| a.rank().checked_sub(first.checked_add(b.rank())?));
        let behind = behind.ok_or_else(|| OpError::value(format!("axis {axis} of a tensor of rank {}", a.rank())))?;
        Ok(b.reshape([b.shape(), &vec![1; behind]].concat())?)
    }

    /// The gradients of both inputs, from formulas over the gradient of the output and the inputs.
    ///
    /// # Errors
    /// [`NoGradient`] if the inputs are lined up as before opset 7.
    pub(crate) fn vjp(self, vjp: &mut Vjp<'_>, formulas: impl FnOnce(Expr, Expr, Expr) -> [Expr; 2]) -> Gradients {
        if self != Self::Last {
            return Err(NoGradient);
        }
        of_broadcast(vjp, |vjp, dy| Ok(formulas(dy, x(vjp, 0)?, x(vjp, 1)?).map(Some).to_vec()))
    }

    /// The fact of the result, of type `dtype` if given, else of the inputs' own.
    ///
    /// # Errors
    /// [`OpError::BadValue`] if two known lengths never fit.
    pub(crate) fn infer(self, inputs: &Facts<'_>, dtype: Option<DType>) -> Result<Fact, OpError> {
        match (self, dtype) {
            (Self::From(_), _) => Ok(Fact { dtype: dtype.or(inputs.dtype(0)), ..infer_same(inputs) }),
            (Self::Last, None) => infer_broadcast(inputs),
            (Self::Last, Some(dtype)) => infer_broadcast_as(inputs, dtype),
        }
    }
}

/// Two integer scalars or vectors of lengths joined by `f`, if one of them is known only symbolically.
pub(crate) fn infer_lengths(inputs: &Facts<'_>, f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Option<Fact> {
    let (dtype, rank, dims) = join_lengths(inputs, f)?;
    Some(lengths_fact(dtype, rank, dims))
}

/// Whether lengths are equal, where that is known of all of them.
pub(crate) fn equal_lengths(inputs: &Facts<'_>) -> Option<Fact> {
    let (_, rank, flags) = join_lengths(inputs, |a, b| match (a, b) {
        (a, b) if a == b => Some(true),
        (Dim::Known(_), Dim::Known(_)) => Some(false),
        // Without a difference in it, what is computed from lengths is not negative.
        (Dim::Known(number), Dim::Symbol(text)) | (Dim::Symbol(text), Dim::Known(number)) => {
            (*number < 0 && !text.contains('-')).then_some(false)
        }
        _ => None,
    })?;
    let shape = if rank == 0 { Vec::new() } else { vec![flags.len()] };
    Some(Fact::constant(&Tensor::new(shape, flags).ok()?))
}

/// Type, rank and elements of two integer scalars or vectors of lengths joined by `f`.
fn join_lengths<T>(inputs: &Facts<'_>, f: impl Fn(&Dim, &Dim) -> Option<T>) -> Option<(DType, usize, Vec<T>)> {
    if !is_symbolic(inputs.get(0)) && !is_symbolic(inputs.get(1)) {
        return None;
    }
    let ((dtype, x_rank, x), (_, y_rank, y)) = (lengths(inputs.get(0))?, lengths(inputs.get(1))?);
    let len = if x.len() == 1 { y.len() } else { x.len() };
    if len == 0 || (x.len() != len && x.len() != 1) || (y.len() != len && y.len() != 1) {
        return None;
    }
    let joined = (0..len).map(|i| f(&x[i % x.len()], &y[i % y.len()])).collect::<Option<Vec<_>>>()?;
    Some((dtype, x_rank.max(y_rank), joined))
}

/// Implements [`Op`](lissom_graph::Op) for a type with a field `alignment`: two inputs of one numeric type, the output
/// of the same; `gradients` are formulas over the gradient of the output and the inputs.
macro_rules! numeric_binary {
    (
        $op:ty, lengths = $lengths:expr, float = |$x:ident, $y:ident| $float:expr,
        int = |$i:ident, $j:ident| $int:expr, gradients = |$dy:pat_param, $a:pat_param, $b:pat_param| $gradients:expr
    ) => {
        impl lissom_graph::Op for $op {
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }

            fn infer(&self, inputs: &lissom_graph::Facts<'_>) -> Result<Vec<lissom_graph::Fact>, lissom_graph::OpError> {
                match $crate::binary::infer_lengths(inputs, $lengths) {
                    Some(fact) => Ok(vec![fact]),
                    None => Ok(vec![self.alignment.infer(inputs, None)?]),
                }
            }

            fn evaluate(
                &self,
                inputs: &lissom_graph::Inputs<'_>,
            ) -> Result<Vec<lissom_tensor::Tensor>, lissom_graph::OpError> {
                let (a, b) = self.alignment.two(inputs)?;
                Ok(vec![$crate::elementwise::zip_numeric!(a, &b, float = |$x, $y| $float, int = |$i, $j| $int)?])
            }

            fn vjp(
                &self,
                vjp: &mut lissom_graph::Vjp<'_>,
            ) -> Result<Vec<Option<lissom_graph::ValueId>>, lissom_graph::NoGradient> {
                self.alignment.vjp(vjp, |$dy, $a, $b| $gradients)
            }
        }
    };
}

pub(crate) use numeric_binary;

/// Implements [`Op`](lissom_graph::Op) for a type with a field `alignment`: two inputs of one type, the output boolean.
macro_rules! comparison {
    ($op:ty, |$x:ident, $y:ident| $holds:expr) => {
        $crate::binary::comparison!($op, lengths = |_| None, |$x, $y| $holds);
    };
    ($op:ty, lengths = $lengths:expr, |$x:ident, $y:ident| $holds:expr) => {
        impl lissom_graph::Op for $op {
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }

            fn infer(
                &self,
                inputs: &lissom_graph::Facts<'_>,
            ) -> Result<Vec<lissom_graph::Fact>, lissom_graph::OpError> {
                let lengths: fn(&lissom_graph::Facts<'_>) -> Option<lissom_graph::Fact> = $lengths;
                match lengths(inputs) {
                    Some(fact) => Ok(vec![fact]),
                    None => Ok(vec![self.alignment.infer(inputs, Some(lissom_tensor::DType::Bool))?]),
                }
            }

            fn evaluate(
                &self,
                inputs: &lissom_graph::Inputs<'_>,
            ) -> Result<Vec<lissom_tensor::Tensor>, lissom_graph::OpError> {
                use lissom_tensor::DType;
                let (a, b) = self.alignment.two(inputs)?;
                macro_rules! compare {
                    ($rust:ty) => {
                        $crate::elementwise::zip::<$rust, bool>(a, &b, |$x, $y| $holds)
                    };
                }
                Ok(vec![match a.dtype() {
                    DType::F32 => compare!(f32),
                    DType::F64 => compare!(f64),
                    DType::F16 => compare!(half::f16),
                    DType::BF16 => compare!(half::bf16),
                    DType::I8 => compare!(i8),
                    DType::I16 => compare!(i16),
                    DType::I32 => compare!(i32),
                    DType::I64 => compare!(i64),
                    DType::U8 => compare!(u8),
                    DType::U16 => compare!(u16),
                    DType::U32 => compare!(u32),
                    DType::U64 => compare!(u64),
                    DType::Bool => compare!(bool),
                    DType::Str => compare!(String),
                    actual => Err(lissom_graph::OpError::UnsupportedType { index: 0, actual }),
                }?])
            }
        }
    };
}

pub(crate) use comparison;

/// Cases of an operator on two numbers, the second never zero.
pub(crate) fn samples() -> Vec<Sample> {
    let matrix = || Tensor::new([2, 3], vec![-2.5f32, 1.0, 3.0, 4.0, 0.5, -6.0]);
    let ints = |values: [i64; 3]| Tensor::vector(values.to_vec());
    vec![
        Sample::new(matrix().into_iter().chain(matrix())),
        Sample::new(matrix().into_iter().chain([Tensor::vector(vec![2f32, -4.0, 0.25])])),
        Sample::new([ints([-7, 7, i64::MIN]), ints([2, -3, -1])]),
        Sample::new([Tensor::vector(Vec::<f32>::new()), Tensor::scalar(1f32)]),
    ]
}

/// Cases of an operator on two booleans.
pub(crate) fn bool_samples() -> Vec<Sample> {
    let pair = || Tensor::vector(vec![true, false]);
    let column = Tensor::new([2, 1], vec![false, true]);
    vec![Sample::new([pair(), pair()]), Sample::new(column.into_iter().chain([pair()]))]
}
