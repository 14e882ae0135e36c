//! Named numpy arrays in one file: `.npz`, a zip of `.npy` files.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;

use lissom_tensor::Tensor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::npy::{self, NpyError};
use crate::{DataError, bounded};

/// Reads every array of an `.npz` file, in the order of the file; or the one array of an `.npy` file, which has the name
/// of the file without extension.
///
/// All together may unpack to `64 MiB + 256 · file size` bytes, and no more than the limit of a tensor.
///
/// # Errors
/// [`DataError::Read`], [`DataError::Malformed`], [`DataError::Truncated`], [`DataError::TooLarge`].
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, DataError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let tensor = decode(path, &name, &bounded::read_bytes(path)?)?;
        return Ok(vec![(name, tensor)]);
    }
    let (file, len) = bounded::open_file(path)?;
    let malformed =
        |place: &str, reason: String| DataError::Malformed { path: path.into(), place: place.into(), reason };
    let mut archive =
        ZipArchive::new(BufReader::new(file)).map_err(|error| malformed("zip directory", error.to_string()))?;
    let limit_bytes = bounded::unpacked_limit(len);
    let mut left = limit_bytes;
    let mut arrays = Vec::new();
    let mut names = HashSet::new();
    for index in 0..archive.len() {
        let place = format!("entry {index}");
        let mut entry = archive.by_index(index).map_err(|error| malformed(&place, error.to_string()))?;
        let name = entry.name().map_err(|error| malformed(&place, error.to_string()))?.into_owned();
        let Some(array) = name.strip_suffix(".npy") else {
            return Err(malformed(&place, format!("`{name}` is no numpy array")));
        };
        if !names.insert(array.to_string()) {
            return Err(malformed(&place, format!("a second array `{array}`")));
        }
        let mut bytes = Vec::new();
        let read = (&mut entry).take(left + 1).read_to_end(&mut bytes);
        let read = read.map_err(|error| malformed(&format!("array `{array}`"), error.to_string()))? as u64;
        left = left.checked_sub(read).ok_or_else(|| DataError::TooLarge {
            path: path.into(),
            what: format!("array `{array}` unpacked"),
            bytes: entry.size().max(read),
            limit_bytes,
        })?;
        arrays.push((array.to_string(), decode(path, array, &bytes)?));
    }
    Ok(arrays)
}

fn decode(path: &Path, array: &str, bytes: &[u8]) -> Result<Tensor, DataError> {
    let (path, place) = (path.to_path_buf(), format!("array `{array}`"));
    npy::decode(bytes).map_err(|error| match error {
        NpyError::Malformed(reason) => DataError::Malformed { path, place, reason },
        NpyError::Truncated { what, expected, actual } => {
            DataError::Truncated { path, what: format!("{place} {what}"), expected, actual }
        }
        NpyError::Tensor(source) => DataError::Tensor { path, array: array.into(), source },
    })
}

/// The bytes of an `.npz` file that holds `arrays` in this order, not compressed, as `numpy.savez` writes it. The same
/// arrays give the same bytes: the dates inside are those of the epoch of zip.
///
/// # Errors
/// [`DataError::NoNumpyType`] for elements numpy has no type for (bfloat16, 8-bit floats, 4-bit integers, sequences);
/// [`DataError::Malformed`] for two arrays of one name.
pub fn npz_bytes(arrays: &[(String, Tensor)]) -> Result<Vec<u8>, DataError> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, tensor) in arrays {
        let body =
            npy::encode(tensor).ok_or_else(|| DataError::NoNumpyType { array: name.clone(), dtype: tensor.dtype() })?;
        let failed =
            |reason: String| DataError::Malformed { path: "npz".into(), place: format!("array `{name}`"), reason };
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(body.len() >= u32::MAX as usize)
            .unix_permissions(0o644);
        writer.start_file(format!("{name}.npy"), options).map_err(|error| failed(error.to_string()))?;
        writer.write_all(&body).map_err(|error| failed(error.to_string()))?;
    }
    let finished = writer.finish().map_err(|error| DataError::Malformed {
        path: "npz".into(),
        place: "zip directory".into(),
        reason: error.to_string(),
    })?;
    Ok(finished.into_inner())
}

/// Writes [`npz_bytes`] to `path`, by a file beside it that is renamed when complete.
///
/// # Errors
/// As [`npz_bytes`], and [`DataError::Write`].
pub fn write_npz(path: &Path, arrays: &[(String, Tensor)]) -> Result<(), DataError> {
    let bytes = npz_bytes(arrays)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // Best effort: the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        DataError::Write { path: path.into(), source }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrays() -> Vec<(String, Tensor)> {
        vec![
            ("input/0:x".into(), Tensor::new([2, 3], vec![1f32, 2., 3., 4., 5., 6.]).unwrap()),
            ("labels".into(), Tensor::vector(vec![1i64, 0])),
        ]
    }

    #[test]
    fn arrays_survive_and_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        write_npz(&path, &arrays()).unwrap();
        assert_eq!(read_npz(&path).unwrap(), arrays());
        assert_eq!(fs::read(&path).unwrap(), npz_bytes(&arrays()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_bomb_is_stopped_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.npz");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        writer.start_file("input.npy", options).unwrap();
        writer
            .write_all(&npy::encode(&Tensor::zeros(lissom_tensor::DType::U8, [300 << 20]).unwrap()).unwrap())
            .unwrap();
        writer.finish().unwrap();
        let error = read_npz(&path).unwrap_err();
        assert!(matches!(&error, DataError::TooLarge { what, .. } if what.contains("`input`")), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_gives_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_npz(&folder.path().join("missing/a.npz"), &arrays()).unwrap_err();
        assert!(matches!(&error, DataError::Write { path, .. } if path.ends_with("missing/a.npz")));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(cut in 0usize..700, at in 0usize..700, value: u8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.npz");
            let mut bytes = npz_bytes(&arrays()).unwrap();
            let whole = bytes.clone();
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            fs::write(&path, &bytes).unwrap();
            if let Ok(read) = read_npz(&path) {
                prop_assert!(bytes.len() == whole.len() || read.len() <= 2);
            }
        }
    }
}
