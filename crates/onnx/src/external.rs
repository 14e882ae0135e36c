//! Weights in files beside the model.
//!
//! The names of those files are in the model, so a stranger chose them. The rule:
//!
//! * A name is looked up in the folder of the path the model was given by, and must stay beneath it: `..`, absolute
//!   paths and symbolic links that lead out are refused, by the kernel at the moment of opening where it can.
//! * If the model itself was reached through a symbolic link, the folder its real file lies in is trusted as well. That
//!   is what a Hugging Face cache needs: `snapshots/…/model.onnx` and its data both lead to `blobs/`.
//! * Further folders are trusted when the user names them (`--allow-external-root`). A file may lie in a trusted folder
//!   whichever way its name leads there.
//! * The opened file must be a regular file and hold the range asked for. A file with several hard links may be
//!   somebody else's secret under a new name: that is a warning, and an error for untrusted models.
//!
//! Ranges that overlap are read once, so nothing is held twice.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use lissom_tensor::{DType, TensorError, checked_len};

use crate::dense::{self, TensorCause};
use crate::messages::{DataLocation, ModelProto, TensorProto};
use crate::read::{ReadOptions, ReadWarning};
use crate::tensors::for_each_tensor;

/// External data that could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("tensor `{tensor}`: external data `{location}`")]
pub struct ExternalError {
    /// Name of the first tensor that asked for it.
    pub tensor: String,
    /// Name of the file as the model says it.
    pub location: String,
    /// What is wrong with it.
    #[source]
    pub cause: ExternalCause,
}

/// What is wrong with external data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum ExternalCause {
    #[error("the model was read from memory and has no folder to look in")]
    NoFolder,
    #[error("no file name is given")]
    NoLocation,
    #[error("`{key}` is given twice")]
    DuplicateKey { key: String },
    #[error("`{key}` is `{value}`, expected a number of bytes")]
    NotANumber { key: &'static str, value: String },
    #[error("the path leads out of `{}`", folder.display())]
    Escapes { folder: PathBuf },
    #[error("the file cannot be read")]
    File { source: io::Error },
    #[error("it is not a regular file")]
    NotAFile,
    #[error("the file has {links} hard links, so it may be a file from elsewhere")]
    HardLink { links: u64 },
    #[error("bytes {offset}..{end} are asked for, the file has {file_bytes}")]
    OutOfRange { offset: u64, end: u128, file_bytes: u64 },
    #[error("{length} bytes are given, {dtype}{shape:?} takes {expected}")]
    Length { length: u64, dtype: DType, shape: Vec<usize>, expected: u64 },
    #[error(transparent)]
    Tensor(TensorCause),
    #[error("{needed_bytes} bytes of external data are asked for, the limit is {limit_bytes}")]
    TooLarge { needed_bytes: u64, limit_bytes: u64 },
}

impl ExternalError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match &self.cause {
            ExternalCause::NoFolder => "read the model from its path",
            ExternalCause::Escapes { .. } => {
                "if you trust the model, name the folder its data may lie in with `--allow-external-root DIR`"
            }
            ExternalCause::File { source } if source.kind() == io::ErrorKind::NotFound => {
                "put the data file beside the model, under the name the model gives it"
            }
            ExternalCause::File { .. } | ExternalCause::NotAFile => "check the file and its permissions",
            ExternalCause::HardLink { .. } => {
                "copy the data file (`cp --remove-destination`), or leave out `--untrusted` if you trust the model"
            }
            ExternalCause::OutOfRange { .. } => {
                "the data file is truncated or belongs to another model: get both again"
            }
            ExternalCause::TooLarge { .. }
            | ExternalCause::Tensor(TensorCause::Tensor(TensorError::TooLarge { .. })) => {
                "if the model is trusted and the machine has the memory, raise `--max-memory`"
            }
            _ => "the model is damaged or its exporter has a bug: export it again",
        }
    }
}

/// A data file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalFile {
    /// Its name as the model says it.
    pub location: String,
    /// Size of the whole file.
    pub file_bytes: u64,
}

/// What one tensor asks for.
struct Request {
    tensor: String,
    location: String,
    offset: u64,
    n_bytes: u64,
}

impl Request {
    fn error(&self, cause: ExternalCause) -> Box<ExternalError> {
        Box::new(ExternalError { tensor: self.tensor.clone(), location: self.location.clone(), cause })
    }
}

/// Reads all external data of `model` into its tensors' `raw_data`, as if it had never been outside. `path` is where the
/// model was read from.
pub(crate) fn load(
    model: &mut ModelProto,
    path: Option<&Path>,
    options: &ReadOptions,
    warnings: &mut Vec<ReadWarning>,
) -> Result<Vec<ExternalFile>, Box<ExternalError>> {
    let mut requests = Vec::new();
    for_each_tensor::<Box<ExternalError>>(model, &mut |tensor| {
        if tensor.data_location() == DataLocation::External {
            requests.push(request(tensor)?);
        }
        Ok(())
    })?;
    let Some(first) = requests.first() else { return Ok(Vec::new()) };
    let path = path.ok_or_else(|| first.error(ExternalCause::NoFolder))?;
    let roots = Roots::new(path, &options.allow_external_roots).map_err(|cause| first.error(cause))?;

    let mut by_location = BTreeMap::<PathBuf, Vec<usize>>::new();
    for (index, request) in requests.iter().enumerate() {
        by_location.entry(plain_path(&request.location)).or_default().push(index);
    }
    let mut files = Vec::new();
    let mut contents = vec![Bytes::new(); requests.len()];
    let mut read_bytes = 0;
    for indices in by_location.into_values() {
        let Some(first) = indices.first().map(|&index| &requests[index]) else { continue };
        let (mut file, file_bytes, links) = roots.open(&first.location).map_err(|cause| first.error(cause))?;
        if links > 1 {
            if options.untrusted {
                return Err(first.error(ExternalCause::HardLink { links }));
            }
            warnings.push(ReadWarning::HardLink { location: first.location.clone(), links });
        }
        files.push(ExternalFile { location: first.location.clone(), file_bytes });
        for range in overlapping(&requests, indices) {
            let limit_bytes = options.limits.max_external_bytes;
            let block = read_range(&mut file, &range, file_bytes, &mut read_bytes, limit_bytes)
                .map_err(|cause| requests[range.indices[0]].error(cause))?;
            for &index in &range.indices {
                let start = (requests[index].offset - range.offset) as usize;
                contents[index] = block.slice(start..start + requests[index].n_bytes as usize);
            }
        }
    }
    fill(model, contents);
    Ok(files)
}

/// Puts the contents into the tensors, in the order they were asked for.
fn fill(model: &mut ModelProto, contents: Vec<Bytes>) {
    let mut contents = contents.into_iter();
    let filled = for_each_tensor::<std::convert::Infallible>(model, &mut |tensor| {
        if tensor.data_location() == DataLocation::External {
            tensor.raw_data = contents.next();
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        Ok(())
    });
    let Ok(()) = filled;
}

fn request(tensor: &TensorProto) -> Result<Request, Box<ExternalError>> {
    let mut request = Request { tensor: tensor.name().to_owned(), location: String::new(), offset: 0, n_bytes: 0 };
    let mut length = None;
    let mut keys: Vec<&str> = Vec::new();
    for entry in &tensor.external_data {
        let (key, value) = (entry.key(), entry.value());
        if keys.contains(&key) {
            return Err(request.error(ExternalCause::DuplicateKey { key: key.to_owned() }));
        }
        match key {
            "location" => request.location = value.to_owned(),
            "offset" => request.offset = number("offset", value).map_err(|cause| request.error(cause))?,
            "length" => length = Some(number("length", value).map_err(|cause| request.error(cause))?),
            // `checksum` and the keys of other tools change nothing about where the bytes are.
            _ => continue,
        }
        keys.push(key);
    }
    if request.location.is_empty() {
        return Err(request.error(ExternalCause::NoLocation));
    }
    request.n_bytes = expected_bytes(tensor, length).map_err(|cause| request.error(cause))?;
    Ok(request)
}

fn number(key: &'static str, value: &str) -> Result<u64, ExternalCause> {
    value.parse().map_err(|_| ExternalCause::NotANumber { key, value: value.to_owned() })
}

/// Bytes the tensor takes by its shape and type; a given length must be the same.
fn expected_bytes(tensor: &TensorProto, length: Option<u64>) -> Result<u64, ExternalCause> {
    let dtype = dense::dtype(tensor).map_err(ExternalCause::Tensor)?;
    if dtype.bits() == 0 {
        return Err(ExternalCause::Tensor(TensorCause::Field { dtype, field: "external_data" }));
    }
    let shape = dense::shape(&tensor.dims).map_err(ExternalCause::Tensor)?;
    let len = checked_len(dtype, &shape).map_err(|error| ExternalCause::Tensor(error.into()))?;
    let expected = dense::raw_bytes(dtype, len);
    match length {
        Some(length) if length != expected => Err(ExternalCause::Length { length, dtype, shape, expected }),
        _ => Ok(expected),
    }
}

/// `location` without `.`, so that `./a` and `a` are one file.
fn plain_path(location: &str) -> PathBuf {
    Path::new(location).components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

/// Part of a file that one or more tensors ask for.
struct Range {
    offset: u64,
    end: u128,
    /// The requests within it.
    indices: Vec<usize>,
}

/// Joins requests that overlap; `indices` are those of one file.
fn overlapping(requests: &[Request], mut indices: Vec<usize>) -> Vec<Range> {
    indices.sort_by_key(|&index| (requests[index].offset, index));
    let mut ranges: Vec<Range> = Vec::new();
    for index in indices {
        let offset = requests[index].offset;
        let end = u128::from(offset) + u128::from(requests[index].n_bytes);
        match ranges.last_mut().filter(|last| u128::from(offset) < last.end) {
            Some(last) => {
                last.end = last.end.max(end);
                last.indices.push(index);
            }
            None => ranges.push(Range { offset, end, indices: vec![index] }),
        }
    }
    ranges
}

/// Reads a range that lies within the file, and adds its size to `read_bytes` unless that passes the limit.
fn read_range(
    file: &mut File,
    range: &Range,
    file_bytes: u64,
    read_bytes: &mut u64,
    limit_bytes: u64,
) -> Result<Bytes, ExternalCause> {
    if range.end > u128::from(file_bytes) {
        return Err(ExternalCause::OutOfRange { offset: range.offset, end: range.end, file_bytes });
    }
    let n_bytes = (range.end - u128::from(range.offset)) as u64;
    let needed_bytes = read_bytes.saturating_add(n_bytes);
    if needed_bytes > limit_bytes {
        return Err(ExternalCause::TooLarge { needed_bytes, limit_bytes });
    }
    *read_bytes = needed_bytes;
    read_exactly(file, range.offset, n_bytes).map_err(|source| ExternalCause::File { source })
}

fn read_exactly(file: &mut File, offset: u64, n_bytes: u64) -> io::Result<Bytes> {
    let mut buffer = Vec::new();
    let n_bytes = usize::try_from(n_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.try_reserve_exact(n_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.seek(SeekFrom::Start(offset))?;
    file.take(n_bytes as u64).read_to_end(&mut buffer)?;
    if buffer.len() < n_bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Bytes::from(buffer))
}

/// The folders external data may lie in.
struct Roots {
    /// Where names are looked up.
    folder: PathBuf,
    /// Further trusted folders, without symbolic links.
    others: Vec<PathBuf>,
}

impl Roots {
    fn new(path: &Path, allowed: &[PathBuf]) -> Result<Self, ExternalCause> {
        let cannot_read = |source| ExternalCause::File { source };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut others = Vec::new();
        if fs::symlink_metadata(path).map_err(cannot_read)?.is_symlink() {
            let real = fs::canonicalize(path).map_err(cannot_read)?;
            others.extend(real.parent().map(Path::to_owned));
        }
        for root in allowed {
            others.push(fs::canonicalize(root).map_err(cannot_read)?);
        }
        Ok(Self { folder, others })
    }

    /// The opened file, its size and its number of hard links.
    fn open(&self, location: &str) -> Result<(File, u64, u64), ExternalCause> {
        match open_beneath(&self.folder, Path::new(location)) {
            Err(error) if is_escape(&error) => self.open_elsewhere(location),
            opened => opened.map_err(|source| ExternalCause::File { source }),
        }
        .and_then(|opened| opened.ok_or(ExternalCause::NotAFile))
    }

    /// A name that leads out of the folder may still lead into another trusted one.
    fn open_elsewhere(&self, location: &str) -> Result<Option<(File, u64, u64)>, ExternalCause> {
        let escapes = || ExternalCause::Escapes { folder: self.folder.clone() };
        if self.others.is_empty() {
            return Err(escapes());
        }
        let real = fs::canonicalize(self.folder.join(location)).map_err(|_| escapes())?;
        let (root, rest) =
            self.others.iter().find_map(|root| Some((root, real.strip_prefix(root).ok()?))).ok_or_else(escapes)?;
        // Opened by its name beneath the root, so a link put there in the meantime leads nowhere either.
        open_beneath(root, rest).map_err(|source| ExternalCause::File { source })
    }
}

/// Opens a regular file beneath `folder`; nothing if it is something else.
fn open_beneath(folder: &Path, location: &Path) -> io::Result<Option<(File, u64, u64)>> {
    let folder = Dir::open_ambient_dir(folder, ambient_authority())?;
    // Asked before opening: opening a named pipe waits for its writer.
    if !folder.metadata(location)?.is_file() {
        return Ok(None);
    }
    let file = folder.open(location)?.into_std();
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then(|| (file, metadata.len(), hard_links(&metadata))))
}

/// cap-std says so with an error of its own, which has no number of the operating system.
fn is_escape(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

#[cfg(unix)]
fn hard_links(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn hard_links(_: &fs::Metadata) -> u64 {
    1
}
