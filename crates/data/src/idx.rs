//! idx files, the format of MNIST: a folder with `t10k-images-idx3-ubyte` (or `train-…`, `test-…`) and its labels, or a
//! path to the file of images with the labels beside it. Each may end in `.gz`.
//!
//! Source: the description on the page of the MNIST database, "THE IDX FILE FORMAT".

use std::path::{Path, PathBuf};

use lissom_tensor::{DType, checked_len};

use crate::bounded::read_bytes;
use crate::format::{Format, Opened, Request, files_in, lower_name};
use crate::pixel_array::PixelArray;
use crate::prepare::Preparation;
use crate::split::Split;
use crate::{DataError, Labels, Notice};

pub(crate) const FORMAT: Format = Format {
    name: "idx",
    looks_like: "t10k-images-idx3-ubyte(.gz) and t10k-labels-idx1-ubyte(.gz), as MNIST",
    recognises,
    open,
};

fn recognises(path: &Path) -> bool {
    if path.is_dir() {
        return files_in(path).is_ok_and(|files| files.iter().any(|file| is_images(file)));
    }
    let name = lower_name(path);
    name.contains("idx3-ubyte") || name.contains("idx4-ubyte") || matches!(extension(&name), "idx" | "idx3" | "idx4")
}

/// Extension of `name`, a trailing `.gz` left out.
fn extension(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name).rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_images(path: &Path) -> bool {
    let name = lower_name(path);
    name.contains("images") && (name.contains("idx") || name.contains("ubyte"))
}

fn open(request: &Request<'_>) -> Result<Opened, DataError> {
    let (images_path, mut notices) = find_images(request)?;
    let images = Idx::read(&images_path)?;
    let (n, height, width, channels) = match images.shape[..] {
        [n, height, width] => (n, height, width, 1),
        [n, height, width, channels] if matches!(channels, 1 | 3 | 4) => (n, height, width, channels),
        _ => return Err(images.not(&images_path, "images: [samples, height, width] or […, 3]")),
    };
    if images.kind != U8 {
        return Err(images.not(&images_path, "images of unsigned bytes"));
    }
    let input = request.only_input()?;
    let (preparation, more) = Preparation::for_arrays(&images_path, input, request.settings, channels)?;
    notices.extend(more);
    let dims = [n, height, width, channels];
    preparation.check([height, width], || crate::spec::describe(DType::U8, &dims[..images.shape.len()]))?;
    let labels = find_labels(&images_path).map(|path| read_labels(&path)).transpose()?;
    let source = PixelArray { values: images.body, height, width, channels, is_planar: false, preparation };
    Ok(Opened { source: Box::new(source), labels, class_names: None, notices })
}

/// The file of images: the path itself, or the one of the wanted split in the folder.
fn find_images(request: &Request<'_>) -> Result<(PathBuf, Vec<Notice>), DataError> {
    if !request.path.is_dir() {
        return Ok((request.path.into(), Vec::new()));
    }
    let files: Vec<PathBuf> = files_in(request.path)?.into_iter().filter(|file| is_images(file)).collect();
    let of = |split: Split| {
        files.iter().find(|file| {
            let name = lower_name(file);
            match split {
                Split::Train => name.starts_with("train"),
                Split::Test => ["t10k", "test"].iter().any(|prefix| name.starts_with(prefix)),
            }
        })
    };
    let missing = || DataError::UnknownFormat { path: request.path.into() };
    if let Some(split) = request.split {
        return of(split).cloned().map(|file| (file, Vec::new())).ok_or_else(missing);
    }
    match (of(Split::Test), of(Split::Train)) {
        (Some(test), Some(_)) => Ok((test.clone(), vec![Notice::SplitChosen { split: Split::Test }])),
        (Some(only), None) | (None, Some(only)) => Ok((only.clone(), Vec::new())),
        (None, None) => files.first().cloned().map(|file| (file, Vec::new())).ok_or_else(missing),
    }
}

/// The labels beside a file of images: `images-idx3` becomes `labels-idx1`, packed or not.
fn find_labels(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let labels = plain.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
    if labels == plain {
        return None;
    }
    let candidates = [labels.clone(), format!("{labels}.gz")];
    candidates.into_iter().map(|name| images.with_file_name(name)).find(|path| path.is_file())
}

fn read_labels(path: &Path) -> Result<Labels, DataError> {
    let labels = Idx::read(path)?;
    if labels.shape.len() != 1 {
        return Err(labels.not(path, "labels: one integer a sample"));
    }
    let body = &labels.body;
    Ok(Labels::Classes(match labels.kind {
        U8 => body.iter().map(|&x| x.into()).collect(),
        I8 => body.iter().map(|&x| x.cast_signed().into()).collect(),
        I16 => body.as_chunks().0.iter().map(|&x| i16::from_be_bytes(x).into()).collect(),
        I32 => body.as_chunks().0.iter().map(|&x| i32::from_be_bytes(x).into()).collect(),
        _ => return Err(labels.not(path, "labels: one integer a sample")),
    }))
}

const U8: u8 = 0x08;
const I8: u8 = 0x09;
const I16: u8 = 0x0B;
const I32: u8 = 0x0C;

/// A file as it lies: big-endian elements of type `kind`.
struct Idx {
    kind: u8,
    shape: Vec<usize>,
    body: Vec<u8>,
}

impl Idx {
    fn read(path: &Path) -> Result<Self, DataError> {
        Self::parse(path, read_bytes(path)?)
    }

    fn parse(path: &Path, mut bytes: Vec<u8>) -> Result<Self, DataError> {
        let bad = |reason: String| DataError::Malformed { path: path.into(), place: "header".into(), reason };
        let [0, 0, kind, rank, ..] = bytes[..] else {
            return Err(bad("an idx file begins with two zero bytes, a type and a number of axes".into()));
        };
        let item_bytes = match kind {
            U8 | I8 => 1u64,
            I16 => 2,
            I32 | 0x0D => 4,
            0x0E => 8,
            _ => return Err(bad(format!("element type {kind:#04x} is not known"))),
        };
        let header_len = 4 + 4 * usize::from(rank);
        let Some(dims) = bytes.get(4..header_len) else {
            return Err(bad(format!("{rank} axes are announced, the file ends before them")));
        };
        let shape: Vec<usize> = dims.as_chunks().0.iter().map(|&dim| u32::from_be_bytes(dim) as usize).collect();
        let len = checked_len(DType::U8, &shape).map_err(|source| DataError::Tensor {
            path: path.into(),
            array: "header".into(),
            source,
        })?;
        let expected = (len as u64).saturating_mul(item_bytes);
        let actual = (bytes.len() - header_len) as u64;
        if expected != actual {
            let what = format!("the array {shape:?} of the header");
            return Err(DataError::Truncated { path: path.into(), what, expected, actual });
        }
        bytes.drain(..header_len);
        Ok(Self { kind, shape, body: bytes })
    }

    fn not(&self, path: &Path, wanted: &str) -> DataError {
        let reason = format!("expected {wanted}; found type {:#04x}, shape {:?}", self.kind, self.shape);
        DataError::Malformed { path: path.into(), place: "header".into(), reason }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::{DataSettings, InputSpec, open};

    fn idx(kind: u8, dims: &[u32], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, dims.len() as u8];
        dims.iter().for_each(|dim| bytes.extend_from_slice(&dim.to_be_bytes()));
        bytes.extend_from_slice(body);
        bytes
    }

    fn spec() -> InputSpec {
        InputSpec::new("x", DType::F32, [None, Some(1), Some(2), Some(3)])
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
        write("t10k-images-idx3-ubyte", idx(U8, &[2, 2, 3], &[0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6]));
        write("t10k-labels-idx1-ubyte", idx(U8, &[2], &[1, 0]));
        write("train-images-idx3-ubyte", idx(U8, &[1, 2, 3], &[9; 6]));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&idx(I32, &[1], &[0, 0, 1, 0])).unwrap();
        write("train-labels-idx1-ubyte.gz", packed.finish().unwrap());
        folder
    }

    #[test]
    fn images_and_labels_are_found_and_scaled() {
        let folder = folder();
        let data = open(folder.path(), &DataSettings::default(), &[spec()]).unwrap();
        assert_eq!(data.notices(), [Notice::SplitChosen { split: Split::Test }, Notice::PixelsScaled]);
        let batch = data.batches(8).next().unwrap().unwrap();
        assert_eq!(batch.labels, Some(Labels::Classes(vec![1, 0])));
        assert_eq!(batch.inputs[0].1.shape(), [2, 1, 2, 3]);
        assert_eq!(batch.inputs[0].1.as_slice::<f32>().unwrap()[..6], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!((data.class_count(), data.format()), (Some(2), "idx"));
    }

    #[test]
    fn a_split_is_named_after_the_folder() {
        let folder = folder();
        let path = format!("{}#train", folder.path().display());
        let data = open(Path::new(&path), &DataSettings::default(), &[spec()]).unwrap();
        assert_eq!(data.labels(), Some(Labels::Classes(vec![256])));
    }

    #[test]
    fn damaged_files_are_refused_with_both_sizes() {
        let folder = folder();
        let path = folder.path().join("t10k-images-idx3-ubyte");
        let open_with = |bytes: Vec<u8>| {
            fs::write(&path, bytes).unwrap();
            open(folder.path(), &DataSettings::default(), &[spec()]).unwrap_err()
        };
        let huge = open_with(idx(U8, &[u32::MAX, u32::MAX, u32::MAX], &[0; 6]));
        assert!(matches!(huge, DataError::Tensor { .. }), "{huge}");
        let short = open_with(idx(U8, &[2, 2, 3], &[0; 5]));
        assert!(matches!(short, DataError::Truncated { expected: 12, actual: 5, .. }), "{short}");
        let floats = open_with(idx(0x0D, &[1, 1, 1], &[0; 4]));
        assert!(matches!(floats, DataError::Malformed { .. }), "{floats}");
        let other_size = open_with(idx(U8, &[2, 2, 2], &[0; 8])).to_string();
        assert!(other_size.contains("f32[N,1,2,3]") && other_size.contains("u8[2,2,2]"), "{other_size}");
        let fewer = open_with(idx(U8, &[1, 2, 3], &[0; 6]));
        assert!(matches!(fewer, DataError::LabelCount { samples: 1, labels: 2, .. }), "{fewer}");
        let none = open_with(idx(U8, &[0, 2, 3], &[]));
        assert!(matches!(none, DataError::Empty { .. }), "{none}");
    }

    #[test]
    fn a_cut_off_gzip_file_is_refused() {
        let folder = folder();
        let path = folder.path().join("train-labels-idx1-ubyte.gz");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let images = folder.path().join("train-images-idx3-ubyte");
        let error = open(&images, &DataSettings::default(), &[spec()]).unwrap_err();
        assert!(matches!(&error, DataError::Malformed { reason, .. } if reason.contains("gzip")), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_array_of_their_own_size_or_an_error(
            kind: u8, dims in prop::collection::vec(any::<u32>(), 0..6), body in prop::collection::vec(any::<u8>(), 0..64)
        ) {
            let bytes = idx(kind, &dims, &body);
            if let Ok(array) = Idx::parse(Path::new("x"), bytes.clone()) {
                prop_assert_eq!(array.body, body);
                let cut = bytes[..bytes.len() - 1].to_vec();
                prop_assert!(Idx::parse(Path::new("x"), cut).is_err());
            }
        }
    }
}
