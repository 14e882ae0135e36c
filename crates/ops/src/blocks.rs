//! Blocks of an image moved between space and channels.

use lissom_graph::{NodeReader, OpError};
use lissom_tensor::{Strided, Tensor, strides};

/// `blocksize`.
///
/// # Errors
/// [`OpError::BadAttribute`] if it is not positive.
pub(crate) fn read_size(node: &NodeReader<'_>) -> Result<usize, OpError> {
    let size = node.int_or("blocksize", 0)?;
    let fits = usize::try_from(size).ok().filter(|&size| size > 0 && size < 1 << 16);
    fits.ok_or_else(|| OpError::attribute("blocksize", format!("{size} must be positive")))
}

/// `x` seen as `split` with its axes in the order `perm`, as a tensor of `shape`.
///
/// # Errors
/// [`OpError::Tensor`] if the shapes do not hold the same number of elements.
pub(crate) fn rearranged(x: &Tensor, split: &[usize], perm: &[usize], shape: &[usize]) -> Result<Tensor, OpError> {
    let steps = strides(split);
    let walked = perm.iter().map(|&axis| split[axis]).collect();
    let order = Strided::new(walked, perm.iter().map(|&axis| steps[axis] as isize).collect(), 0);
    Ok(x.reshape(split)?.pick(shape, order)?)
}
