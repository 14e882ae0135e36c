//! Reads models, from strangers too: nothing is decoded before the file was walked and found small enough to decode.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use crate::external::{self, ExternalError, ExternalFile};
use crate::file_kind::FileKind;
use crate::messages::ModelProto;
use crate::pieces::Pieces;
use crate::scan::{self, ScanError};
use crate::schema::Kind;
use crate::wire::WireError;

/// The newest IR version whose fields are all known here (onnx 1.22).
pub const NEWEST_IR_VERSION: i64 = 13;

/// How a model is read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// Folders beside the model's own that external data may lie in (`--allow-external-root`).
    pub allow_external_roots: Vec<PathBuf>,
    /// The model is from a stranger: what is only suspicious is an error (`--untrusted`).
    pub untrusted: bool,
    /// Read external data into the model. Otherwise its tensors keep saying where it is.
    pub load_external: bool,
    /// What a file may ask for.
    pub limits: ReadLimits,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { allow_external_roots: Vec::new(), untrusted: false, load_external: true, limits: ReadLimits::default() }
    }
}

/// What a file may ask for. Reading holds at most the file, [`memory_multiple`](Self::memory_multiple) times the file for
/// the structs, [`memory_floor_bytes`](Self::memory_floor_bytes), and the external data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Protobuf cannot hold more than 2 GiB.
    pub max_file_bytes: u64,
    /// Messages within messages; a subgraph takes three. The decoder itself stops at 100.
    pub max_depth: usize,
    /// Bytes of structs for each byte of the file. Graphs without weights take about 20, networks less than 4.
    pub memory_multiple: u64,
    /// Bytes of structs any file may take: in tiny models every name counts.
    pub memory_floor_bytes: u64,
    /// All external data together.
    pub max_external_bytes: u64,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            max_file_bytes: (2 << 30) - 1,
            max_depth: 64,
            memory_multiple: 32,
            memory_floor_bytes: 16 << 20,
            max_external_bytes: 64 << 30,
        }
    }
}

/// A model as read.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    /// The model; external data, if it was read, is in the tensors as if it had never been outside.
    pub model: ModelProto,
    /// Bytes of the model's own file.
    pub file_bytes: u64,
    /// The data files that were read, in order of their names.
    pub external_files: Vec<ExternalFile>,
    /// What was odd but no reason to stop.
    pub warnings: Vec<ReadWarning>,
}

/// Something odd in a model that could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum ReadWarning {
    #[error("{place}: field {number} is not known and is lost when the model is written")]
    UnknownField { place: String, number: u32 },
    #[error("IR version {found} is newer than {newest}, the newest one known")]
    NewerIrVersion { found: i64, newest: i64 },
    #[error("external data `{location}` has {links} hard links, so it may be a file from elsewhere")]
    HardLink { location: String, links: u64 },
}

/// Why a model could not be read. [`ReadError::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum ReadError {
    #[error("cannot read `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Something about the content of a file; the source says what.
    #[error("cannot read the model `{}`", path.display())]
    Model { path: PathBuf, source: Box<ReadError> },
    #[error("it is not a regular file")]
    NotAFile,
    #[error("the file has {file_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge { file_bytes: u64, limit_bytes: u64 },
    #[error("not an ONNX model: {looks_like}")]
    NotOnnx { looks_like: FileKind },
    /// The bytes break off or do not follow the format.
    #[error("byte {offset}, in {place}: {cause}")]
    Protobuf { offset: u64, place: String, cause: WireError },
    #[error("the file of {file_bytes} bytes would take {needed_bytes} bytes to decode, the limit is {limit_bytes}")]
    TooManyElements { file_bytes: u64, needed_bytes: u64, limit_bytes: u64 },
    #[error("the model has no graph")]
    NoGraph,
    #[error(transparent)]
    External(#[from] Box<ExternalError>),
}

impl ReadError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => "check the path",
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "check the file's permissions"
            }
            Self::File { .. } => "check the path and the disk",
            Self::Model { source, .. } => source.hint(),
            Self::NotAFile => "give the path of an `.onnx` file",
            Self::TooLarge { .. } => "keep large weights as external data: protobuf ends at 2 GiB",
            Self::NotOnnx { looks_like } => looks_like.hint(),
            Self::Protobuf { cause: WireError::TooDeep { .. }, .. } => {
                "no exporter nests subgraphs this deep; if this one is right, flatten them"
            }
            Self::Protobuf { .. } => "the file is truncated or damaged: get it or export it again",
            Self::TooManyElements { .. } => {
                "no exporter writes files like this one; it may be made to exhaust memory, so check where it is from"
            }
            Self::NoGraph => "export the model again and check it with `onnx.checker`",
            Self::External(error) => error.hint(),
        }
    }

    /// The error about the content, without the path around it.
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Model { source, .. } => source.innermost(),
            other => other,
        }
    }
}

/// Reads the model at `path` and its external data.
///
/// # Errors
/// [`ReadError`]: the file cannot be read, is no ONNX model, is damaged, asks for too much, or its external data is
/// missing, damaged or outside of the trusted folders (see `allow_external_roots`).
pub fn read_model(path: impl AsRef<Path>, options: &ReadOptions) -> Result<ModelFile, ReadError> {
    let path = path.as_ref();
    let in_model = |source| ReadError::Model { path: path.to_owned(), source: Box::new(source) };
    let pieces = read_file(path, options.limits.max_file_bytes)
        .map_err(|source| ReadError::File { path: path.to_owned(), source })?
        .map_err(in_model)?;
    decode(pieces, Some(path), options).map_err(in_model)
}

/// Reads a model from memory. It cannot have external data, unless that is not to be loaded.
///
/// # Errors
/// As [`read_model`], without the path.
pub fn read_model_bytes(bytes: Bytes, options: &ReadOptions) -> Result<ModelFile, ReadError> {
    decode(bytes.into(), None, options)
}

fn read_file(path: &Path, limit_bytes: u64) -> io::Result<Result<Pieces, ReadError>> {
    // Asked before opening: opening a named pipe waits for its writer.
    if !fs::metadata(path)?.is_file() {
        return Ok(Err(ReadError::NotAFile));
    }
    let file = fs::File::open(path)?;
    let file_bytes = file.metadata()?.len();
    if file_bytes > limit_bytes {
        return Ok(Err(ReadError::TooLarge { file_bytes, limit_bytes }));
    }
    // The file may grow meanwhile.
    Pieces::read(file, file_bytes as usize).map(Ok)
}

fn decode(mut pieces: Pieces, path: Option<&Path>, options: &ReadOptions) -> Result<ModelFile, ReadError> {
    let limits = &options.limits;
    let file_bytes = pieces.len() as u64;
    if file_bytes > limits.max_file_bytes {
        return Err(ReadError::TooLarge { file_bytes, limit_bytes: limits.max_file_bytes });
    }
    let scan = match scan::scan(&mut pieces, Kind::Model, limits.max_depth) {
        Ok(_) if file_bytes == 0 => return Err(ReadError::NotOnnx { looks_like: FileKind::Empty }),
        Ok(scan) => scan,
        Err(error) => return Err(wire_error(pieces.joined(), error, limits.max_depth)),
    };
    let limit_bytes = limits.memory_multiple.saturating_mul(file_bytes).saturating_add(limits.memory_floor_bytes);
    if scan.decoded_bytes > limit_bytes {
        return Err(ReadError::TooManyElements { file_bytes, needed_bytes: scan.decoded_bytes, limit_bytes });
    }
    let mut model = ModelProto::decode(pieces).map_err(|error| ReadError::Protobuf {
        offset: 0,
        place: "model".to_owned(),
        cause: WireError::Decode { message: error.to_string() },
    })?;
    if model.graph.is_none() {
        return Err(ReadError::NoGraph);
    }
    let mut warnings: Vec<_> = (scan.unknown_fields.into_iter())
        .map(|field| ReadWarning::UnknownField { place: field.place, number: field.number })
        .collect();
    if model.ir_version() > NEWEST_IR_VERSION {
        let found = model.ir_version();
        warnings.push(ReadWarning::NewerIrVersion { found, newest: NEWEST_IR_VERSION });
    }
    let external_files = match options.load_external {
        true => external::load(&mut model, path, options, &mut warnings)?,
        false => Vec::new(),
    };
    Ok(ModelFile { model, file_bytes, external_files, warnings })
}

/// A file that is no model at all is said to be that; otherwise the place where it breaks.
fn wire_error(bytes: Bytes, error: ScanError, max_depth: usize) -> ReadError {
    let looks_like = FileKind::of(&bytes);
    let is_tensor = || {
        scan::scan(&mut bytes.clone().into(), Kind::Tensor, max_depth).is_ok_and(|scan| scan.unknown_fields.is_empty())
    };
    let is_at_top = !error.place.contains('.');
    if looks_like != FileKind::Unknown {
        return ReadError::NotOnnx { looks_like };
    }
    if is_at_top && matches!(error.cause, WireError::WrongWireType { .. }) && is_tensor() {
        return ReadError::NotOnnx { looks_like: FileKind::OnnxTensor };
    }
    // Every exporter begins with the IR version.
    if bytes.first() != Some(&8) && error.place == "model" {
        return ReadError::NotOnnx { looks_like };
    }
    ReadError::Protobuf { offset: error.offset as u64, place: error.place, cause: error.cause }
}
