//! Tensors of one shape put into one along a new axis.

use lissom_graph::{Dim, Fact, OpError};
use lissom_tensor::{DType, Tensor};

use crate::concat::concat;

/// `parts` as slices of a new axis, negative from the end. Without parts the result is empty along it, and the rest of
/// its shape and its type are those of `one`, as far as they are known.
///
/// # Errors
/// [`OpError::BadShape`] if the shapes differ.
pub(crate) fn stack(parts: &[Tensor], axis: i64, one: &Fact) -> Result<Tensor, OpError> {
    if parts.is_empty() {
        let dims = one.shape.iter().flatten().map(|dim| Dim::known(dim).unwrap_or(0));
        let mut shape: Vec<usize> = dims.collect();
        shape.insert(crate::axes::axis(axis, shape.len() + 1)?, 0);
        return Ok(Tensor::zeros(one.dtype.unwrap_or(DType::F32), shape)?);
    }
    let mut slices = Vec::with_capacity(parts.len());
    let mut position = 0;
    for part in parts {
        let mut shape = part.shape().to_vec();
        position = crate::axes::axis(axis, shape.len() + 1)?;
        shape.insert(position, 1);
        slices.push(part.reshape(shape)?);
    }
    concat(&slices.iter().collect::<Vec<_>>(), position)
}
