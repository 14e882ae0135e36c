//! CIFAR-10 and CIFAR-100, binary version: a folder with `data_batch_*.bin` and `test_batch.bin` (CIFAR-100: `train.bin`
//! and `test.bin`), or one `.bin` file.
//!
//! A record is one label byte (CIFAR-100: coarse, then fine; the fine one is used) and 3,072 pixels: 1,024 red, green, blue.
//!
//! Source: Krizhevsky 2009 and the page of the data set, "Binary version".

use std::path::{Path, PathBuf};

use lissom_tensor::DType;

use crate::bounded::{read_bytes, read_lines};
use crate::format::{Format, Opened, Request, files_in, lower_name};
use crate::pixel_array::PixelArray;
use crate::prepare::Preparation;
use crate::split::Split;
use crate::{DataError, Labels, Notice};

pub(crate) const FORMAT: Format = Format {
    name: "cifar",
    looks_like: "test_batch.bin and data_batch_*.bin, or train.bin and test.bin",
    recognises,
    open,
};

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;
const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn recognises(path: &Path) -> bool {
    if path.is_dir() {
        return files_in(path).is_ok_and(|files| files.iter().any(|file| split_of(file).is_some()));
    }
    lower_name(path).ends_with(".bin")
}

/// The split a file of the published folder belongs to.
fn split_of(path: &Path) -> Option<Split> {
    match lower_name(path).as_str() {
        "test_batch.bin" | "test.bin" => Some(Split::Test),
        "train.bin" => Some(Split::Train),
        name if name.starts_with("data_batch_") && name.ends_with(".bin") => Some(Split::Train),
        _ => None,
    }
}

fn open(request: &Request<'_>) -> Result<Opened, DataError> {
    let (files, mut notices) = find_files(request)?;
    let (mut values, mut labels, mut label_bytes) = (Vec::new(), Vec::new(), None);
    for file in &files {
        let bytes = read_bytes(file)?;
        let found = label_bytes_of(file, bytes.len())?;
        if *label_bytes.get_or_insert(found) != found {
            let reason = format!("records with {found} label bytes, the other files have another number");
            return Err(DataError::Malformed { path: file.clone(), place: "size".into(), reason });
        }
        for record in bytes.chunks_exact(found + PIXELS) {
            labels.push(record[found - 1].into());
            values.extend_from_slice(&record[found..]);
        }
    }
    let input = request.only_input()?;
    let (preparation, more) = Preparation::for_arrays(request.path, input, request.settings, 3)?;
    notices.extend(more);
    let found = [labels.len(), 3, SIDE, SIDE];
    preparation.check([SIDE, SIDE], || crate::spec::describe(DType::U8, &found))?;
    let class_names = class_names(files.first(), label_bytes)?;
    let source = PixelArray { values, height: SIDE, width: SIDE, channels: 3, is_planar: true, preparation };
    Ok(Opened { source: Box::new(source), labels: Some(Labels::Classes(labels)), class_names, notices })
}

/// The files of the wanted split, by number.
fn find_files(request: &Request<'_>) -> Result<(Vec<PathBuf>, Vec<Notice>), DataError> {
    if !request.path.is_dir() {
        return Ok((vec![request.path.into()], Vec::new()));
    }
    let mut files: Vec<PathBuf> = files_in(request.path)?.into_iter().filter(|file| split_of(file).is_some()).collect();
    // data_batch_10 comes after data_batch_9.
    files.sort_by_key(|file| (file.as_os_str().len(), file.clone()));
    let of = |split| files.iter().filter(|file| split_of(file) == Some(split)).cloned().collect::<Vec<_>>();
    let (train, test) = (of(Split::Train), of(Split::Test));
    let (chosen, notices) = match request.split {
        Some(Split::Train) => (train, Vec::new()),
        Some(Split::Test) => (test, Vec::new()),
        None if test.is_empty() => (train, Vec::new()),
        None if train.is_empty() => (test, Vec::new()),
        None => (test, vec![Notice::SplitChosen { split: Split::Test }]),
    };
    if chosen.is_empty() {
        return Err(DataError::Empty { path: request.path.into() });
    }
    Ok((chosen, notices))
}

/// 1 for CIFAR-10, 2 for CIFAR-100: told from the size, and from the name where both divide it.
fn label_bytes_of(file: &Path, len: usize) -> Result<usize, DataError> {
    let is_100 = matches!(lower_name(file).as_str(), "train.bin" | "test.bin");
    let order = if is_100 { [2, 1] } else { [1, 2] };
    order.into_iter().find(|label_bytes| len.is_multiple_of(label_bytes + PIXELS)).ok_or_else(|| {
        let record = order[0] + PIXELS;
        let expected = len.next_multiple_of(record) as u64;
        let what = format!("a whole number of records of {record} bytes");
        DataError::Truncated { path: file.into(), what, expected, actual: len as u64 }
    })
}

/// Names from the file beside the data, or the well-known ones of CIFAR-10.
fn class_names(file: Option<&PathBuf>, label_bytes: Option<usize>) -> Result<Option<Vec<String>>, DataError> {
    let beside = if label_bytes == Some(1) { "batches.meta.txt" } else { "fine_label_names.txt" };
    match file.map(|file| file.with_file_name(beside)) {
        Some(path) if path.is_file() => {
            Ok(Some(read_lines(&path)?.into_iter().filter(|line| !line.trim().is_empty()).collect()))
        }
        _ if label_bytes == Some(1) => Ok(Some(CIFAR10_CLASSES.map(String::from).into())),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{DataSettings, InputSpec, open};

    fn spec() -> InputSpec {
        InputSpec::new("input", DType::F32, [None, Some(3), Some(32), Some(32)])
    }

    /// A record whose red, green and blue are `base`, `base + 1`, `base + 2`.
    fn record(label: &[u8], base: u8) -> Vec<u8> {
        let planes = (0..3).flat_map(|channel| vec![base + channel; SIDE * SIDE]);
        label.iter().copied().chain(planes).collect()
    }

    #[test]
    fn records_of_all_files_are_joined_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
        write("data_batch_10.bin", record(&[3], 30));
        write("data_batch_2.bin", [record(&[1], 10), record(&[2], 20)].concat());
        write("test_batch.bin", record(&[9], 90));
        let train = format!("{}#train", folder.path().display());
        let settings = DataSettings::parse("[image]\nscale = 1.0", Path::new("data.toml")).unwrap();
        let data = open(Path::new(&train), &settings, &[spec()]).unwrap();
        assert_eq!(data.labels(), Some(Labels::Classes(vec![1, 2, 3])));
        let batch = data.batch(&[2]).unwrap();
        let values = batch.inputs[0].1.as_slice::<f32>().unwrap();
        assert_eq!((values[0], values[1024], values[3071]), (30.0, 31.0, 32.0));
        let test = open(folder.path(), &settings, &[spec()]).unwrap();
        assert_eq!((test.len(), test.class_count()), (1, Some(10)));
        assert_eq!(test.notices(), [Notice::SplitChosen { split: Split::Test }]);
    }

    #[test]
    fn cifar_100_uses_the_fine_label() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.bin");
        fs::write(&path, [record(&[4, 77], 0), record(&[5, 88], 0)].concat()).unwrap();
        fs::write(folder.path().join("fine_label_names.txt"), "apple\nfish\n").unwrap();
        let data = open(&path, &DataSettings::default(), &[spec()]).unwrap();
        assert_eq!(data.labels(), Some(Labels::Classes(vec![77, 88])));
        assert_eq!(data.class_names().unwrap(), ["apple", "fish"]);
    }

    #[test]
    fn half_a_record_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test_batch.bin");
        fs::write(&path, &record(&[1], 0)[..1000]).unwrap();
        let error = open(&path, &DataSettings::default(), &[spec()]).unwrap_err();
        assert!(matches!(error, DataError::Truncated { expected: 3073, actual: 1000, .. }), "{error}");
        fs::write(&path, []).unwrap();
        let error = open(&path, &DataSettings::default(), &[spec()]).unwrap_err();
        assert!(matches!(error, DataError::Empty { .. }), "{error}");
    }
}
