//! ONNX bytes to plain structs and back. Knows no operator and no graph semantics.

pub mod messages;
mod scan;
mod schema;
mod sparse;
mod tensor_proto;
mod wire;

pub use messages::*;
pub use sparse::sparse_tensor_from_proto;
pub use tensor_proto::{TensorCause, TensorProtoError, tensor_from_proto, tensor_to_proto};
pub use wire::WireError;

#[doc(hidden)]
pub fn scan_for_measure(bytes: &[u8]) -> Result<u64, String> {
    scan::scan(bytes, schema::Kind::Model, 64).map(|s| s.decoded_bytes).map_err(|e| format!("{e:?}"))
}
