//! Inputs and outputs as files: tensors, sequences and optionals.

use std::path::Path;

use lissom_onnx::messages::type_proto::Value;
use lissom_onnx::{TensorProto, TypeProto, tensor_from_proto};
use lissom_tensor::Tensor;
use prost::Message;

/// `SequenceProto` of onnx-data.proto, as far as the corpus uses it.
#[derive(Clone, PartialEq, Message)]
struct SequenceProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    elem_type: Option<i32>,
    #[prost(message, repeated, tag = "3")]
    tensor_values: Vec<TensorProto>,
    #[prost(message, repeated, tag = "5")]
    sequence_values: Vec<SequenceProto>,
    #[prost(message, repeated, tag = "7")]
    optional_values: Vec<OptionalProto>,
}

/// `OptionalProto` of onnx-data.proto, as far as the corpus uses it.
#[derive(Clone, PartialEq, Message)]
struct OptionalProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    elem_type: Option<i32>,
    #[prost(message, optional, boxed, tag = "3")]
    tensor_value: Option<Box<TensorProto>>,
    #[prost(message, optional, boxed, tag = "5")]
    sequence_value: Option<Box<SequenceProto>>,
}

/// Reads a value of the declared type; without a declaration it is a tensor.
pub(super) fn read(path: &Path, declared: Option<&TypeProto>) -> Result<Tensor, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let bytes = bytes.as_slice();
    let bad = |error: prost::DecodeError| error.to_string();
    match declared.and_then(|declared| declared.value.as_ref()) {
        Some(Value::SequenceType(_)) => sequence(&SequenceProto::decode(bytes).map_err(bad)?),
        Some(Value::OptionalType(_)) => optional(&OptionalProto::decode(bytes).map_err(bad)?),
        _ => tensor_from_proto(&TensorProto::decode(bytes).map_err(bad)?).map_err(|error| error.to_string()),
    }
}

fn sequence(proto: &SequenceProto) -> Result<Tensor, String> {
    let mut items = Vec::new();
    for tensor in &proto.tensor_values {
        items.push(tensor_from_proto(tensor).map_err(|error| error.to_string())?);
    }
    for inner in &proto.sequence_values {
        items.push(sequence(inner)?);
    }
    for inner in &proto.optional_values {
        items.push(optional(inner)?);
    }
    Ok(Tensor::sequence(items))
}

fn optional(proto: &OptionalProto) -> Result<Tensor, String> {
    let item = match (&proto.tensor_value, &proto.sequence_value) {
        (Some(tensor), _) => Some(tensor_from_proto(tensor).map_err(|error| error.to_string())?),
        (_, Some(inner)) => Some(sequence(inner)?),
        _ => None,
    };
    Ok(Tensor::optional(item))
}
