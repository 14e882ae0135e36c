//! Reading without trusting what a file says of itself.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use lissom_tensor::max_tensor_bytes;

use crate::DataError;

/// What every compressed file may unpack to, however small it is.
pub(crate) const UNPACKED_FLOOR_BYTES: u64 = 64 << 20;
/// How many times its own size a compressed file may unpack to beyond that. Deflate can do 1,032 on a constant.
pub(crate) const UNPACKED_RATIO: u64 = 256;

/// Bytes a compressed file of `packed_bytes` may unpack to: `64 MiB + 256 · packed`, and no more than `--max-memory`.
pub(crate) fn unpacked_limit(packed_bytes: u64) -> u64 {
    packed_bytes.saturating_mul(UNPACKED_RATIO).saturating_add(UNPACKED_FLOOR_BYTES).min(max_tensor_bytes())
}

/// A file opened for reading and its size.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64), DataError> {
    let error = |source| DataError::Read { path: path.into(), source };
    let file = File::open(path).map_err(error)?;
    let metadata = file.metadata().map_err(error)?;
    if !metadata.is_file() {
        return Err(error(io::Error::other("not a plain file")));
    }
    Ok((file, metadata.len()))
}

/// The bytes of a file, unpacked if its name ends in `.gz`.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let (file, len) = open_file(path)?;
    let is_packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let limit_bytes = if is_packed { unpacked_limit(len) } else { max_tensor_bytes() };
    let mut bytes = Vec::new();
    let outcome = if is_packed {
        MultiGzDecoder::new(io::BufReader::new(file)).take(limit_bytes + 1).read_to_end(&mut bytes)
    } else {
        file.take(limit_bytes + 1).read_to_end(&mut bytes)
    };
    match outcome {
        Err(error) if is_packed && error.kind() != io::ErrorKind::Interrupted => {
            let place = format!("byte {} of the unpacked data", bytes.len());
            Err(DataError::Malformed { path: path.into(), place, reason: format!("bad gzip data: {error}") })
        }
        Err(source) => Err(DataError::Read { path: path.into(), source }),
        Ok(read) if read as u64 > limit_bytes => {
            let bytes = if is_packed { read as u64 } else { len };
            Err(DataError::TooLarge { path: path.into(), what: "its content".into(), bytes, limit_bytes })
        }
        Ok(_) => Ok(bytes),
    }
}

/// The lines of a text file with their numbers from 1, without line ends; empty lines at the end are dropped.
pub(crate) fn read_lines(path: &Path) -> Result<Vec<String>, DataError> {
    let bytes = read_bytes(path)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
        DataError::Text { path: path.into(), line, reason: "not UTF-8 text".into() }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.lines().map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_gzip_bomb_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zeros.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::best());
        let block = vec![0u8; 1 << 20];
        // 300 MiB of zeros is about 300 kB packed: 1,000 times, the limit is 256 times and 64 MiB.
        for _ in 0..300 {
            encoder.write_all(&block).unwrap();
        }
        encoder.finish().unwrap();
        let error = read_bytes(&path).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, b"good\nbad \xff\n").unwrap();
        assert!(matches!(read_lines(&path), Err(DataError::Text { line: 2, .. })));
    }
}
