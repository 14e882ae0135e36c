//! Content hashes: BLAKE3, written as 64 hexadecimal digits.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ValueError;

/// The BLAKE3 hash of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(blake3::Hash);

impl Digest {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(blake3::hash(bytes))
    }

    /// The hash of a list of parts, each preceded by its length, so that moving a byte
    /// from one part to the next changes the hash.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Digest(hasher.finalize())
    }

    /// The hash of a file's contents, read in pieces.
    ///
    /// # Errors
    /// Any error of opening or reading the file.
    pub fn of_file(path: &Path) -> io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        Ok(Digest(hasher.finalize()))
    }

    /// The hash of a file, or of a folder: the names and contents of all files below it, in the
    /// order of their names. Links to folders are not followed.
    ///
    /// # Errors
    /// Any error of listing or reading.
    pub fn of_path(path: &Path) -> io::Result<Digest> {
        if !fs::metadata(path)?.is_dir() {
            return Digest::of_file(path);
        }
        let mut hasher = blake3::Hasher::new();
        let mut folders = vec![path.to_path_buf()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if fs::metadata(entry.path())?.is_file() {
                    files.push(entry.path());
                }
            }
        }
        let name_in_folder = |file: &PathBuf| {
            let relative = file.strip_prefix(path).unwrap_or(file);
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            parts.join("/")
        };
        let mut named: Vec<(String, PathBuf)> = files.into_iter().map(|file| (name_in_folder(&file), file)).collect();
        named.sort();
        for (name, file) in named {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(Digest::of_file(&file)?.as_bytes());
        }
        Ok(Digest(hasher.finalize()))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.0.to_hex()[..8].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |_| ValueError::new("a hash", text, "expected 64 hexadecimal digits");
        blake3::Hash::from_hex(text).map(Digest).map_err(wrong)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hash_of_nothing() {
        let expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").to_string(), expected);
        assert_eq!(expected.parse::<Digest>().unwrap(), Digest::of(b""));
        assert!("xyz".parse::<Digest>().is_err());
    }

    #[test]
    fn parts_are_kept_apart() {
        let one = Digest::of_parts([b"ab".as_slice(), b"c".as_slice()]);
        let other = Digest::of_parts([b"a".as_slice(), b"bc".as_slice()]);
        assert_ne!(one, other);
    }

    #[test]
    fn file_and_bytes_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"some bytes").unwrap();
        assert_eq!(Digest::of_file(&path).unwrap(), Digest::of(b"some bytes"));
        assert_eq!(Digest::of_path(&path).unwrap(), Digest::of(b"some bytes"));
        assert!(Digest::of_path(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn a_folder_is_its_names_and_contents() {
        let of = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = folder.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Digest::of_path(folder.path()).unwrap()
        };
        let base = of(&[("a/1", "x"), ("b", "y"), ("a.txt", "z")]);
        assert_eq!(base, of(&[("a.txt", "z"), ("b", "y"), ("a/1", "x")]));
        assert_ne!(base, of(&[("a/1", "y"), ("b", "x"), ("a.txt", "z")]));
        assert_ne!(base, of(&[("a/2", "x"), ("b", "y"), ("a.txt", "z")]));
        assert_ne!(base, of(&[("a/1", "x"), ("b", "y")]));
    }
}
