//! Shapes, element types, tensors and the encodings a weight can be stored in. Knows no graph.
//!
//! A [`Tensor`] is a shape and a contiguous row-major buffer behind an [`Arc`](std::sync::Arc), so cloning is cheap and
//! writing copies only when shared. A [`View`] is the same in borrowed memory. A [`Weight`] is a tensor in some encoding, with honest bit accounting.

mod broadcast;
mod dtype;
mod element;
mod limit;
mod pick;
mod storage;
mod tensor;
mod view;
mod weight;

pub use broadcast::{BroadcastError, Strided, broadcast_shapes, flat_indices, strides};
pub use dtype::DType;
pub use element::Element;
pub use half::{bf16, f16};
pub use limit::{checked_len, max_tensor_bytes, set_max_tensor_bytes};
pub use storage::Storage;
pub use tensor::{Tensor, TensorError};
pub use view::{Values, ValuesMut, View, ViewMut, Viewed};
pub use weight::{Affine, Weight};
