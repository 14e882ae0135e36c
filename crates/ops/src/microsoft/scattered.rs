//! Gradients of operators that only choose elements: what was chosen, found by running the operator on positions, gets its
//! gradients back.

use lissom_graph::{Inputs, Op, OpError};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::constant_of_shape::shape_of;
use crate::numeric::{expect_shape, floats, from_f64};

/// The gradient of a tensor whose shape `shape` holds, from which `choose` with `rest` behind the tensor chose the elements
/// of which input `index`, `dy`, are the gradients.
///
/// # Errors
/// Whatever `choose` refuses; [`OpError::BadShape`] if it chooses another number.
pub(super) fn scattered(
    choose: &dyn Op,
    shape: &Tensor,
    rest: &[Option<&Tensor>],
    index: usize,
    dy: &Tensor,
) -> Result<Tensor, OpError> {
    let shape = shape_of(&shape.to_i64_vec()?)?;
    let len = checked_len(DType::F64, &shape)?;
    let positions = Tensor::new(&shape[..], (0..len as i64).collect())?;
    let inputs: Vec<Option<&Tensor>> = [Some(&positions)].into_iter().chain(rest.iter().copied()).collect();
    let chosen = choose.evaluate(&Inputs(&inputs))?;
    let chosen = chosen.first().ok_or(OpError::MissingInput { index })?;
    expect_shape(index, dy, chosen.shape())?;
    let mut dx = vec![0.0; len];
    for (position, dy) in chosen.to_i64_vec()?.into_iter().zip(floats(index, dy)?) {
        if let Some(dx) = usize::try_from(position).ok().and_then(|position| dx.get_mut(position)) {
            *dx += dy;
        }
    }
    from_f64(dy.dtype(), shape, dx)
}
