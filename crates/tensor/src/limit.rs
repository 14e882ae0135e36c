//! The largest tensor anything may allocate. A hostile file can ask for any size in a few bytes, so every allocation
//! whose size comes from a model passes through here.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{DType, TensorError};

/// 16 GiB: larger than any tensor of a network that fits an ordinary computer.
static MAX_TENSOR_BYTES: AtomicU64 = AtomicU64::new(16 << 30);

/// A text or a tensor as an element, without what it points to.
const CONTAINER_BYTES: u64 = 32;

/// The largest tensor that may be allocated, in bytes.
pub fn max_tensor_bytes() -> u64 {
    MAX_TENSOR_BYTES.load(Ordering::Relaxed)
}

/// Sets the limit for the whole process (`--max-memory`).
pub fn set_max_tensor_bytes(bytes: u64) {
    MAX_TENSOR_BYTES.store(bytes, Ordering::Relaxed);
}

/// Number of elements of `shape`. The limit holds for the other axes of an empty tensor too: they are walked, and
/// strides are their products.
///
/// # Errors
/// [`TensorError::TooLarge`] if the product overflows or the bytes pass [`max_tensor_bytes`].
pub fn checked_len(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    let too_large = || TensorError::TooLarge { shape: shape.to_vec(), dtype, limit_bytes: max_tensor_bytes() };
    let walked = shape.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim.max(1))).ok_or_else(too_large)?;
    // Types below one byte are held one element a byte in memory.
    let element_bytes = match dtype {
        DType::Str | DType::Sequence | DType::Optional => CONTAINER_BYTES,
        _ => dtype.bits().div_ceil(8).max(1) as u64,
    };
    match (walked as u64).checked_mul(element_bytes) {
        Some(bytes) if bytes <= max_tensor_bytes() => Ok(if shape.contains(&0) { 0 } else { walked }),
        _ => Err(too_large()),
    }
}
