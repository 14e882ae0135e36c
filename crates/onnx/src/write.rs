//! Models to bytes. The same model gives the same bytes: fields go out in the order of their numbers, lists in theirs.

use bytes::Bytes;
use prost::Message;

use crate::messages::{DataLocation, ModelProto, StringStringEntryProto, TensorProto};
use crate::tensors::for_each_tensor;

/// Tensors of at least this size begin at a page, so that other programs can map them.
const PAGE_BYTES: u64 = 4096;
/// Smaller tensors begin where any element type is aligned.
const ALIGNMENT_BYTES: u64 = 64;

/// When weights go into a file of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExternalPolicy {
    /// Only if the model is too large for protobuf.
    #[default]
    WhenTooLarge,
    /// Always.
    Always,
    /// Never; a model that is too large is an error.
    Never,
}

/// How a model is written.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// When weights go into a file of their own.
    pub external: ExternalPolicy,
    /// Name of that file, which lies beside the model; usually the model's name with `.data` after it.
    pub external_file: String,
    /// Smaller tensors stay in the model.
    pub external_threshold_bytes: u64,
    /// The largest protobuf file; readers stop at 2 GiB.
    pub max_protobuf_bytes: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            external: ExternalPolicy::default(),
            external_file: "model.onnx.data".to_owned(),
            external_threshold_bytes: 1024,
            max_protobuf_bytes: (2 << 30) - 1,
        }
    }
}

/// A model as bytes; nothing is on disk yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenModel {
    /// The `.onnx` file.
    pub bytes: Vec<u8>,
    /// Files that must lie beside it, none or one.
    pub external: Vec<WrittenFile>,
}

/// A data file in parts, which share the model's buffers: weights are not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its name, without a folder.
    pub name: String,
    /// Its content, one part after the other.
    pub parts: Vec<Bytes>,
}

impl WrittenFile {
    /// Size of the file.
    pub fn n_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }
}

/// Why a model could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum WriteError {
    #[error("the model takes {bytes} bytes, protobuf holds at most {limit_bytes}")]
    TooLarge { bytes: u64, limit_bytes: u64 },
    #[error("`{name}` is not a plain file name")]
    ExternalName { name: String },
    #[error("tensor `{tensor}`: its data is in the file `{location}`, which was not read")]
    ExternalNotLoaded { tensor: String, location: String },
}

impl WriteError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "let weights go into a file of their own (external data)",
            Self::ExternalName { .. } => "give a name without folders; the file is written beside the model",
            Self::ExternalNotLoaded { .. } => "read the model together with its external data",
        }
    }
}

/// `model` as the bytes of its files.
///
/// Only initializers of the main graph are moved into external data: readers differ in where else they accept it.
///
/// # Errors
/// [`WriteError`] if it is too large, or has data that was never read.
pub fn write_model(mut model: ModelProto, options: &WriteOptions) -> Result<WrittenModel, WriteError> {
    for_each_tensor(&mut model, &mut |tensor| refuse_unread(tensor))?;
    let is_too_large = |model: &ModelProto| model.encoded_len() as u64 > options.max_protobuf_bytes;
    let is_external = match options.external {
        ExternalPolicy::Always => true,
        ExternalPolicy::WhenTooLarge => is_too_large(&model),
        ExternalPolicy::Never => false,
    };
    let external = match is_external {
        true => move_weights_out(&mut model, options)?,
        false => Vec::new(),
    };
    if is_too_large(&model) {
        let bytes = model.encoded_len() as u64;
        return Err(WriteError::TooLarge { bytes, limit_bytes: options.max_protobuf_bytes });
    }
    Ok(WrittenModel { bytes: model.encode_to_vec(), external })
}

fn refuse_unread(tensor: &mut TensorProto) -> Result<(), WriteError> {
    if tensor.data_location() != DataLocation::External {
        return Ok(());
    }
    let location = tensor.external_data.iter().find(|entry| entry.key() == "location");
    Err(WriteError::ExternalNotLoaded {
        tensor: tensor.name().to_owned(),
        location: location.map(|entry| entry.value().to_owned()).unwrap_or_default(),
    })
}

/// Moves the large weights of the main graph into one data file, in their order.
fn move_weights_out(model: &mut ModelProto, options: &WriteOptions) -> Result<Vec<WrittenFile>, WriteError> {
    let name = options.external_file.clone();
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']) {
        return Err(WriteError::ExternalName { name });
    }
    let mut parts = Vec::new();
    let mut file_bytes = 0;
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let length = tensor.raw_data.as_ref().map_or(0, |data| data.len() as u64);
        if length == 0 || length < options.external_threshold_bytes {
            continue;
        }
        let alignment = if length >= PAGE_BYTES { PAGE_BYTES } else { ALIGNMENT_BYTES };
        let offset = u64::next_multiple_of(file_bytes, alignment);
        if offset > file_bytes {
            parts.push(Bytes::from(vec![0; (offset - file_bytes) as usize]));
        }
        parts.extend(tensor.raw_data.take());
        file_bytes = offset + length;
        tensor.data_location = Some(DataLocation::External.into());
        tensor.external_data = vec![
            entry("location", name.clone()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
    }
    Ok(if parts.is_empty() { Vec::new() } else { vec![WrittenFile { name, parts }] })
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) }
}
