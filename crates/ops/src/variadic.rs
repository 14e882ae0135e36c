//! Operators on any number of tensors, joined two by two with broadcasting.

use lissom_graph::{Inputs, OpError, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::expression::Expr;
use crate::gradient::{Gradients, of_broadcast, x, y};

/// All inputs joined from left to right.
///
/// # Errors
/// [`OpError::MissingInput`] without inputs; whatever `join` refuses.
pub(crate) fn fold(
    inputs: &Inputs<'_>,
    join: impl Fn(&Tensor, &Tensor) -> Result<Tensor, OpError>,
) -> Result<Tensor, OpError> {
    let all = inputs.all()?;
    let Some((first, rest)) = all.split_first() else { return Err(OpError::MissingInput { index: 0 }) };
    let mut result = (*first).clone();
    for (index, other) in rest.iter().enumerate() {
        if other.dtype() != first.dtype() {
            let (expected, actual) = (first.dtype(), other.dtype());
            return Err(OpError::TypeMismatch { index: index + 1, expected, actual });
        }
        result = join(&result, other)?;
    }
    Ok(result)
}

/// The gradients of all inputs from formulas over that of the output, the inputs and the output.
pub(crate) fn vjp(vjp: &mut Vjp<'_>, formulas: impl FnOnce(Expr, Vec<Expr>, Expr) -> Vec<Expr>) -> Gradients {
    of_broadcast(vjp, |vjp, dy| {
        let inputs = (0..vjp.inputs.len()).map(|index| x(vjp, index)).collect::<Result<Vec<_>, _>>()?;
        Ok(formulas(dy, inputs, y(vjp, 0)?).into_iter().map(Some).collect())
    })
}

/// The gradients of an operator that chooses one of its inputs; those that are alike share it.
pub(crate) fn chosen(dy: Expr, inputs: Vec<Expr>, y: Expr) -> Vec<Expr> {
    let is_chosen: Vec<Expr> = inputs.iter().map(|x| Expr::from(1.0).when(&x.equal(y.clone()), 0.0)).collect();
    let Some(count) = is_chosen.iter().cloned().reduce(|sum, other| sum + other) else { return Vec::new() };
    let share = dy / count;
    is_chosen.into_iter().map(|is_chosen| share.clone() * is_chosen).collect()
}

/// Implements [`Op`](lissom_graph::Op) for a type without fields: any number of inputs of one numeric type, joined two by
/// two; `gradients` are formulas as [`vjp`] takes them.
macro_rules! numeric_variadic {
    (
        $op:ty, lengths = $lengths:expr, float = |$x:ident, $y:ident| $float:expr,
        int = |$i:ident, $j:ident| $int:expr, gradients = $gradients:expr
    ) => {
        impl lissom_graph::Op for $op {
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }

            fn infer(&self, inputs: &lissom_graph::Facts<'_>) -> Result<Vec<lissom_graph::Fact>, lissom_graph::OpError> {
                if inputs.len() == 2
                    && let Some(fact) = $crate::binary::infer_lengths(inputs, $lengths)
                {
                    return Ok(vec![fact]);
                }
                Ok(vec![$crate::elementwise::infer_broadcast(inputs)?])
            }

            fn evaluate(
                &self,
                inputs: &lissom_graph::Inputs<'_>,
            ) -> Result<Vec<lissom_tensor::Tensor>, lissom_graph::OpError> {
                let joined = $crate::variadic::fold(inputs, |a, b| {
                    $crate::elementwise::zip_numeric!(a, b, float = |$x, $y| $float, int = |$i, $j| $int)
                })?;
                Ok(vec![joined])
            }

            fn vjp(
                &self,
                vjp: &mut lissom_graph::Vjp<'_>,
            ) -> Result<Vec<Option<lissom_graph::ValueId>>, lissom_graph::NoGradient> {
                $crate::variadic::vjp(vjp, $gradients)
            }
        }
    };
}

pub(crate) use numeric_variadic;

/// Cases of an operator on any number of tensors.
pub(crate) fn samples() -> Vec<Sample> {
    let row = |values: [f32; 3]| Tensor::vector(values.to_vec());
    let column = Tensor::new([2, 1], vec![0.5f32, -2.0]);
    vec![
        Sample::new([row([1.0, -2.0, f32::NAN])]),
        Sample::new([row([1.0, -2.0, 3.0]), row([0.0, 4.0, 3.5])]),
        Sample::new(column.into_iter().chain([row([1.0, -2.0, 3.0]), Tensor::scalar(0f32)])),
    ]
}
