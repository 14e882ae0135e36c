//! Recognises what a file is that is not an ONNX model, so that the error can say so.

use std::fmt;

/// What a file looks like that was given as an ONNX model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum FileKind {
    Empty,
    GitLfsPointer,
    Html,
    Zip,
    Gzip,
    Hdf5,
    Pickle,
    Numpy,
    TfLite,
    OrtFormat,
    Gguf,
    Safetensors,
    OnnxTensor,
    OnnxText,
    Json,
    Text,
    Unknown,
}

impl FileKind {
    /// Judges by the first bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let text_start = bytes.trim_ascii_start();
        let tag = bytes.get(4..8).unwrap_or_default();
        match bytes {
            [] => Self::Empty,
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Self::Zip,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x89, b'H', b'D', b'F', ..] => Self::Hdf5,
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Self::Numpy,
            [0x80, 2..=5, ..] => Self::Pickle,
            [b'G', b'G', b'U', b'F', ..] => Self::Gguf,
            _ if tag == b"TFL3" => Self::TfLite,
            _ if tag == b"ORTM" => Self::OrtFormat,
            _ if bytes.starts_with(b"version https://git-lfs") => Self::GitLfsPointer,
            _ if is_safetensors(bytes) => Self::Safetensors,
            _ if starts_with_any(text_start, &["<!doctype", "<html", "<?xml"]) => Self::Html,
            _ if text_start.starts_with(b"{") && is_text(bytes) => Self::Json,
            _ if starts_with_any(text_start, &["<", "ir_version:"]) && is_text(bytes) => Self::OnnxText,
            _ if is_text(bytes) => Self::Text,
            _ => Self::Unknown,
        }
    }

    /// What to do with such a file.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Empty => "the download or export was interrupted: get the file again",
            Self::GitLfsPointer => "run `git lfs pull` in the repository to get the file itself",
            Self::Html => "the download gave a web page: use the file's raw or download link",
            Self::Zip => {
                "a PyTorch `.pt`, a Keras file or an archive: unpack it, or export the network with `torch.onnx.export`"
            }
            Self::Gzip => "unpack it with `gunzip`",
            Self::Hdf5 => "a Keras model: convert it with `tf2onnx`",
            Self::Pickle => "pickles can run code and are never read: export the network with `torch.onnx.export`",
            Self::Numpy => "this is data, not a model: give it as `--data` or `--input`",
            Self::TfLite => "convert it with `tf2onnx --tflite`",
            Self::OrtFormat => {
                "ONNX Runtime's `.ort` files cannot be turned back: use the `.onnx` file it was made from"
            }
            Self::Gguf | Self::Safetensors => {
                "it holds weights only: export the network to ONNX, for example with `optimum-cli export onnx`"
            }
            Self::OnnxTensor => "this is data, not a model: convert it to `.npz` and give it as input",
            Self::OnnxText => "parse it with `onnx.parser` and save it as a binary `.onnx` file",
            Self::Json | Self::Text | Self::Unknown => {
                "give a binary `.onnx` file; `onnx.checker.check_model` tells if a file is one"
            }
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the file is empty",
            Self::GitLfsPointer => "it is a Git LFS pointer, a note of where the file is",
            Self::Html => "it looks like a web page",
            Self::Zip => "it looks like a ZIP archive",
            Self::Gzip => "it looks gzip-compressed",
            Self::Hdf5 => "it looks like an HDF5 file",
            Self::Pickle => "it looks like a Python pickle",
            Self::Numpy => "it looks like a NumPy array",
            Self::TfLite => "it looks like a TensorFlow Lite model",
            Self::OrtFormat => "it looks like a model in ONNX Runtime's own format",
            Self::Gguf => "it looks like a GGUF file",
            Self::Safetensors => "it looks like a safetensors file",
            Self::OnnxTensor => "it looks like a single ONNX tensor",
            Self::OnnxText => "it looks like an ONNX model written as text",
            Self::Json => "it looks like JSON",
            Self::Text => "it looks like text",
            Self::Unknown => "the bytes are not an ONNX model's",
        })
    }
}

fn starts_with_any(bytes: &[u8], prefixes: &[&str]) -> bool {
    prefixes
        .iter()
        .any(|prefix| bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())))
}

/// The length of a JSON header in eight bytes, then the header.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((&length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest.starts_with(b"{\"") && u64::from_le_bytes(length) <= rest.len() as u64
}

/// No control characters in the first 512 bytes but those of text.
fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(512)];
    start.iter().all(|&byte| byte >= 0x20 && byte != 0x7f || matches!(byte, b'\n' | b'\r' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_wrong_files_are_recognised() {
        let safetensors = [&8u64.to_le_bytes()[..], b"{\"a\":{}}"].concat();
        let cases: &[(&[u8], FileKind)] = &[
            (b"", FileKind::Empty),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", FileKind::GitLfsPointer),
            (b"\n<!DOCTYPE html><html>", FileKind::Html),
            (b"PK\x03\x04rest", FileKind::Zip),
            (b"\x1f\x8b\x08", FileKind::Gzip),
            (b"\x89HDF\r\n", FileKind::Hdf5),
            (b"\x80\x02}q\x00", FileKind::Pickle),
            (b"\x93NUMPY\x01", FileKind::Numpy),
            (b"\x1c\0\0\0TFL3", FileKind::TfLite),
            (b"\x1c\0\0\0ORTM", FileKind::OrtFormat),
            (b"GGUF\x03", FileKind::Gguf),
            (&safetensors, FileKind::Safetensors),
            (b"{\"graph\": 1}", FileKind::Json),
            (b"<ir_version: 8, opset_import: [\"\" : 17]>", FileKind::OnnxText),
            (b"hello\n", FileKind::Text),
            (b"\x08\x01\xff", FileKind::Unknown),
        ];
        for (bytes, expected) in cases {
            assert_eq!(FileKind::of(bytes), *expected, "{}", bytes.escape_ascii());
            assert!(!expected.hint().is_empty() && !expected.to_string().is_empty());
        }
    }
}
