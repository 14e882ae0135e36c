//! ONNX bytes to plain structs and back. Knows no operator and no graph semantics.
//!
//! [`read_model`] walks a file before it decodes anything, so a hostile one cannot exhaust memory or the stack, and finds
//! external data without leaving the trusted folders (the rule is in [`external`]). [`write_model`] gives the bytes
//! back, the same for the same model. [`messages`] are ONNX's own messages with all their fields; [`tensor_from_proto`]
//! and [`tensor_to_proto`] turn the tensors among them into values.

mod dense;
pub mod external;
mod file_kind;
pub mod messages;
mod pieces;
mod read;
mod scan;
mod schema;
mod sparse;
mod tensors;
mod wire;
mod write;

pub use dense::{TensorCause, TensorProtoError, tensor_from_own_proto, tensor_from_proto, tensor_to_proto};
pub use external::{ExternalCause, ExternalError, ExternalFile};
pub use file_kind::FileKind;
pub use messages::*;
pub use read::{
    ModelFile, NEWEST_IR_VERSION, ReadError, ReadLimits, ReadOptions, ReadWarning, read_model, read_model_bytes,
};
pub use sparse::sparse_tensor_from_proto;
pub use wire::WireError;
pub use write::{ExternalPolicy, WriteError, WriteOptions, WrittenFile, WrittenModel, write_model};
