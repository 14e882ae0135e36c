//! Yes or no for each element of a floating point tensor.

use lissom_graph::OpError;
use lissom_tensor::{Storage, Tensor};

use crate::numeric::floats;
use crate::small_float::decode;

/// `holds` of each element.
///
/// # Errors
/// [`OpError::UnsupportedType`] for integers and the rest.
pub(crate) fn flags(x: &Tensor, holds: impl Fn(f64) -> bool) -> Result<Tensor, OpError> {
    let flags: Vec<bool> = match x.storage() {
        Storage::SmallFloat(dtype, codes) => codes.iter().map(|&code| holds(decode(*dtype, code).into())).collect(),
        _ => floats(0, x)?.into_iter().map(holds).collect(),
    };
    Ok(Tensor::new(x.shape(), flags)?)
}
