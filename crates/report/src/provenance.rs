//! How to repeat what a report tells.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// How to repeat a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The exact command line.
    pub command: String,
    /// Version of lissom, with its commit if known.
    pub lissom_version: String,
    /// Name of the processor and what it can do.
    pub cpu: String,
    /// Operating system.
    pub os: String,
    /// Number of threads used.
    pub n_threads: Option<u64>,
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// When, as the caller writes it; this crate reads no clock.
    pub date: String,
    /// The recipe as TOML.
    #[serde(default)]
    pub recipe: Option<String>,
    /// Every file read or written.
    #[serde(default)]
    pub files: Vec<FileHash>,
}

/// A file with its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// What the file was for: `original`, `calibration`, `compressed`...
    pub role: String,
    /// Its path as the user gave it.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// blake3 of its bytes, in hexadecimal.
    pub blake3: String,
}

impl FileHash {
    /// The hash of bytes in memory.
    #[must_use]
    pub fn of_bytes(role: &str, path: &str, bytes: &[u8]) -> Self {
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        Self { role: role.to_owned(), path: path.to_owned(), size_bytes: bytes.len() as u64, blake3 }
    }

    /// The hash of a file, read in pieces.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(role: &str, path: &Path) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        Ok(Self {
            role: role.to_owned(),
            path: path.display().to_string(),
            size_bytes: hasher.count(),
            blake3: hasher.finalize().to_hex().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_bytes_have_the_same_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.bin");
        std::fs::write(&path, b"abc").unwrap();
        let of_file = FileHash::of_file("input", &path).unwrap();
        assert_eq!(of_file, FileHash::of_bytes("input", &path.display().to_string(), b"abc"));
        // The test vector of BLAKE3's paper for "abc".
        assert_eq!(of_file.blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        assert!(FileHash::of_file("input", &folder.path().join("absent")).is_err());
    }
}
