//! Named tensors in a file, in the safetensors format: eight bytes of length, a JSON header, the elements.
//!
//! <https://github.com/huggingface/safetensors#format>. The same tensors give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lissom_recipe::run::{AtomicFile, FileError};
use lissom_tensor::{DType, Storage, Tensor, TensorError};
use serde::{Deserialize, Serialize};

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// Text by key.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name, of f32, f64 or i64.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum CheckpointError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot read the checkpoint `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` is no checkpoint: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("`{name}` is {dtype}; checkpoints hold f32, f64 and i64")]
    Type { name: String, dtype: DType },
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

#[derive(Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Entry>,
}

/// The data begins at a multiple of this, as the format asks for.
const ALIGNMENT: usize = 8;

fn type_name(dtype: DType) -> Option<(&'static str, usize)> {
    match dtype {
        DType::F32 => Some(("F32", 4)),
        DType::F64 => Some(("F64", 8)),
        DType::I64 => Some(("I64", 8)),
        _ => None,
    }
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    match tensor.storage() {
        Storage::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Storage::F64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Storage::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => Vec::new(),
    }
}

fn tensor_of(dtype: &str, shape: &[usize], bytes: &[u8]) -> Option<Tensor> {
    fn each<const N: usize, T>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
    }
    let len = shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n))?;
    let size = match dtype {
        "F32" => 4,
        "F64" | "I64" => 8,
        _ => return None,
    };
    if len.checked_mul(size)? != bytes.len() {
        return None;
    }
    match dtype {
        "F32" => Tensor::new(shape, each(bytes, f32::from_le_bytes)).ok(),
        "F64" => Tensor::new(shape, each(bytes, f64::from_le_bytes)).ok(),
        _ => Tensor::new(shape, each(bytes, i64::from_le_bytes)).ok(),
    }
}

impl Checkpoint {
    /// Writes the file, so that at any moment it is the old one or the new one, whole.
    ///
    /// # Errors
    /// [`CheckpointError::File`], [`CheckpointError::Type`].
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let mut at = 0;
        let mut header = Header { metadata: self.metadata.clone(), tensors: BTreeMap::new() };
        for (name, tensor) in &self.tensors {
            let dtype = tensor.dtype();
            let Some((type_name, size)) = type_name(dtype) else {
                return Err(CheckpointError::Type { name: name.clone(), dtype });
            };
            let end = at + size * tensor.len();
            let entry = Entry { dtype: type_name.into(), shape: tensor.shape().to_vec(), data_offsets: [at, end] };
            header.tensors.insert(name.clone(), entry);
            at = end;
        }
        let failed = |reason: String| CheckpointError::Malformed { path: path.to_path_buf(), reason };
        let mut text = serde_json::to_vec(&header).map_err(|error| failed(error.to_string()))?;
        text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
        let mut file = AtomicFile::create(path)?;
        let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(|error| FileError::of("write", path, error));
        write(&(text.len() as u64).to_le_bytes())?;
        write(&text)?;
        for tensor in self.tensors.values() {
            write(&bytes_of(tensor))?;
        }
        Ok(file.commit()?)
    }

    /// Reads a file; nothing in it is trusted.
    ///
    /// # Errors
    /// [`CheckpointError::Read`], [`CheckpointError::Malformed`].
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_path_buf(), source })?;
        Self::of_bytes(&bytes).map_err(|reason| CheckpointError::Malformed { path: path.to_path_buf(), reason })
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or("it is shorter than eight bytes")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|error| error.to_string())?;
        let (text, data) = rest.split_at_checked(length).ok_or("its header is cut off")?;
        let header: Header = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let mut tensors = BTreeMap::new();
        for (name, entry) in header.tensors {
            let [begin, end] = entry.data_offsets;
            let elements = data.get(begin..end).ok_or_else(|| format!("`{name}` is cut off"))?;
            let tensor = tensor_of(&entry.dtype, &entry.shape, elements);
            tensors.insert(name.clone(), tensor.ok_or_else(|| format!("`{name}` is not what its header says"))?);
        }
        Ok(Self { metadata: header.metadata, tensors })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Checkpoint {
        let tensors = [
            ("b".to_owned(), Tensor::new([2, 3], vec![1f32, -2.0, f32::NAN, 4.0, 5.0, 6.0]).unwrap()),
            ("a".to_owned(), Tensor::scalar(7i64)),
            ("c".to_owned(), Tensor::vector(vec![0.1f64])),
        ];
        Checkpoint { metadata: BTreeMap::from([("step".into(), "3".into())]), tensors: tensors.into() }
    }

    #[test]
    fn tensors_survive_and_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
        example().save(&first).unwrap();
        let read = Checkpoint::load(&first).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", example()));
        read.save(&second).unwrap();
        assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(cut in 0usize..400, at in 0usize..400, value: u8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            example().save(&path).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = Checkpoint::of_bytes(&bytes);
        }
    }
}
