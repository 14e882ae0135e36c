//! Building blocks of vector-Jacobian products: nodes, and sums over the axes an input was broadcast along.

use lissom_graph::{Attributes, Dim, NoGradient, ValueId, Vjp};
use lissom_tensor::{DType, Tensor, Weight};

use crate::numeric::from_f64;

/// Opset from which `ReduceSum` takes its axes as an input.
const AXES_ARE_INPUT: u32 = 13;

/// A new node of one output. What the opset at hand has no operator for has no gradient.
///
/// # Errors
/// [`NoGradient`].
pub(crate) fn node(
    vjp: &mut Vjp<'_>,
    op_type: &str,
    inputs: &[ValueId],
    attributes: Attributes,
) -> Result<ValueId, NoGradient> {
    let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
    let name = format!("gradient_{}", op_type.to_lowercase());
    vjp.patch.node(vjp.operators, op_type, &name, &inputs, attributes).map_err(|_| NoGradient)
}

/// The value of input `index`.
///
/// # Errors
/// [`NoGradient`] if it is left out.
pub(crate) fn input(vjp: &Vjp<'_>, index: usize) -> Result<ValueId, NoGradient> {
    vjp.inputs.get(index).copied().flatten().ok_or(NoGradient)
}

/// The gradient of the only output, or `None` if it is zero.
pub(crate) fn output_gradient(vjp: &Vjp<'_>) -> Option<ValueId> {
    vjp.output_gradients.first().copied().flatten()
}

/// `gradient`, of a value of lengths `from`, summed over the axes along which input `index` was broadcast to it.
///
/// # Errors
/// [`NoGradient`] if the shape of the input is not known.
pub(crate) fn sum_to_input(
    vjp: &mut Vjp<'_>,
    gradient: ValueId,
    from: &[Dim],
    index: usize,
) -> Result<ValueId, NoGradient> {
    let to = vjp.facts.shape(index).ok_or(NoGradient)?;
    let extra = from.len().checked_sub(to.len()).ok_or(NoGradient)?;
    let leading: Vec<i64> = (0..extra as i64).collect();
    let is_stretched = |(own, joined): (&Dim, &Dim)| own != joined && *own == Dim::Known(1);
    let stretched: Vec<i64> = to
        .iter()
        .zip(&from[extra..])
        .enumerate()
        .filter(|(_, pair)| is_stretched(*pair))
        .map(|(i, _)| i as i64)
        .collect();
    let mut gradient = gradient;
    for (axes, keepdims) in [(leading, 0i64), (stretched, 1)] {
        if axes.is_empty() {
            continue;
        }
        let attributes = Attributes::new().with("keepdims", keepdims);
        gradient = if vjp.patch.opset() >= AXES_ARE_INPUT {
            let axes = vjp.patch.constant("gradient_axes", Weight::Dense(Tensor::vector(axes)));
            node(vjp, "ReduceSum", &[gradient, axes], attributes)?
        } else {
            node(vjp, "ReduceSum", &[gradient], attributes.with("axes", axes))?
        };
    }
    Ok(gradient)
}

/// `x` with its last two axes, of `rank`, exchanged.
///
/// # Errors
/// [`NoGradient`] if there are fewer than two.
pub(crate) fn transposed(vjp: &mut Vjp<'_>, x: ValueId, rank: usize) -> Result<ValueId, NoGradient> {
    let mut order: Vec<i64> = (0..rank as i64).collect();
    let last = rank.checked_sub(2).ok_or(NoGradient)?;
    order.swap(last, last + 1);
    node(vjp, "Transpose", &[x], Attributes::new().with("perm", order))
}

/// `x` times a number.
///
/// # Errors
/// [`NoGradient`] if there is no such number of the type.
pub(crate) fn scaled(vjp: &mut Vjp<'_>, x: ValueId, factor: f64, dtype: Option<DType>) -> Result<ValueId, NoGradient> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = from_f64(dtype.ok_or(NoGradient)?, Vec::new(), vec![factor]).map_err(|_| NoGradient)?;
    let factor = vjp.patch.constant("gradient_factor", Weight::Dense(factor));
    node(vjp, "Mul", &[x, factor], Attributes::new())
}
