//! Models from and to files.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use lissom_graph::Model;
use lissom_onnx::{ReadOptions, WriteOptions, WrittenModel};
use lissom_ops::OPERATORS;
use lissom_recipe::Digest;
use lissom_tensor::{Tensor, Weight};

use crate::JobError;

/// A model with the file it came from.
#[derive(Debug, Clone)]
pub struct ModelFile {
    /// The path, as the user gave it.
    pub path: PathBuf,
    /// The model, as read: nothing is simplified.
    pub model: Model,
    /// Size on disk, external data included.
    pub size_bytes: u64,
    /// Hash of the file.
    pub digest: Digest,
    /// What is worth knowing about the file, a sentence each.
    pub warnings: Vec<String>,
}

/// Reads a model.
///
/// # Errors
/// [`JobError::Read`] for the bytes, [`JobError::Load`] for the graph.
pub fn load(path: &Path, options: &ReadOptions) -> Result<ModelFile, JobError> {
    let file = lissom_onnx::read_model(path, options)?;
    let warnings = file.warnings.iter().map(ToString::to_string).collect();
    let size_bytes = file.file_bytes + file.external_files.iter().map(|file| file.file_bytes).sum::<u64>();
    let model =
        Model::from_proto(file.model, OPERATORS).map_err(|source| JobError::Load { path: path.to_owned(), source })?;
    let in_file = |source| JobError::Read(lissom_onnx::ReadError::File { path: path.to_owned(), source });
    let mut digest = Digest::of_file(path).map_err(in_file)?;
    if !file.external_files.is_empty() {
        // The weights lie elsewhere: the file alone does not say what the model is.
        let mut parts: Vec<Vec<u8>> = vec![digest.as_bytes().to_vec()];
        for (_, weight) in model.graph.constants() {
            parts.push(weight_bytes(weight));
        }
        digest = Digest::of_parts(parts.iter().map(Vec::as_slice));
    }
    Ok(ModelFile { path: path.to_owned(), model, size_bytes, digest, warnings })
}

/// Refuses a model of which a layer's weight holds NaN or infinity: no answer of it means anything. Other constants may:
/// masks of attention hold minus infinity.
///
/// # Errors
/// [`JobError::Unfit`] naming the layer and the value.
pub fn refuse_not_finite(model: &Model) -> Result<(), JobError> {
    for layer in model.graph.layers() {
        let Some(weight) = model.graph.dense_constant(layer.weight).filter(|weight| weight.dtype().is_float()) else {
            continue;
        };
        if let Some(at) = weight.to_f32_vec()?.iter().position(|value| !value.is_finite()) {
            let value = weight.to_f32_vec()?[at];
            return Err(JobError::Unfit {
                reason: format!("layer `{}`: its weight holds {value} (element {at})", layer.name),
                hint: "the model is broken before compression; train or export it again".to_owned(),
            });
        }
    }
    Ok(())
}

/// What a weight holds, for hashing.
fn weight_bytes(weight: &Weight) -> Vec<u8> {
    let part = |tensor: &Tensor| lissom_onnx::tensor_to_proto("", tensor).raw_data.unwrap_or_default().to_vec();
    match weight {
        Weight::Dense(tensor) => part(tensor),
        Weight::Affine(affine) => [part(&affine.codes), part(&affine.scale)].concat(),
    }
}

/// Reads a model back from bytes this process made.
///
/// # Errors
/// As [`load`].
pub fn from_bytes(bytes: Vec<u8>) -> Result<Model, JobError> {
    let file = lissom_onnx::read_model_bytes(Bytes::from(bytes), &ReadOptions::default())?;
    Model::from_proto(file.model, OPERATORS)
        .map_err(|source| JobError::Load { path: PathBuf::from("model in memory"), source })
}

/// The bytes of a model: the same for the same model.
///
/// # Errors
/// [`JobError::Graph`] if the model's opset cannot say it, [`JobError::Write`] if it does not fit protobuf.
pub fn to_bytes(model: &Model, options: &WriteOptions) -> Result<WrittenModel, JobError> {
    Ok(lissom_onnx::write_model(model.to_proto()?, options)?)
}

/// Like [`to_bytes`], for the model between steps, which is kept in one piece.
///
/// # Errors
/// As [`to_bytes`]; [`JobError::Unfit`] for a model that does not fit one protobuf message.
pub fn to_one_piece(model: &Model) -> Result<Vec<u8>, JobError> {
    let written = to_bytes(model, &WriteOptions::default())?;
    if written.external.is_empty() {
        return Ok(written.bytes);
    }
    Err(JobError::Unfit {
        reason: "the model takes more than 2 GiB, which recipes do not handle yet".to_owned(),
        hint: "compress it in parts".to_owned(),
    })
}
