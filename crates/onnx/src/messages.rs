//! The messages of onnx.proto at IR 13, under ONNX's own names: proto2's `optional` is `Option`, `repeated` is `Vec`.
//!
//! The wire format is written down by hand so that no protobuf compiler is needed to build. `raw_data` is `Bytes`:
//! decoding from `Bytes` shares the file's buffer instead of copying weights.
#![allow(missing_docs)] // the fields are ONNX's own

mod graph;
mod model;
mod tensor;
mod types;

pub use graph::*;
pub use model::*;
pub use tensor::*;
pub use types::*;
