//! Image files (PNG, JPEG, BMP) in a folder: one folder a class, in the order of their names; or all in one folder with
//! a `labels.csv`; or all in one folder without labels. A path to one image file is a data set of one.
//!
//! `labels.csv` has a column of file names (`file`, `filename`, `image`, `path`, `name`) and one of class indices counted from 0
//! (`class_index`, `label`, `class_id`, `class`, `target`, `index`), found by the first line; without such a line they are
//! the first two columns. Files are decoded when a batch needs them. EXIF orientation is not applied, alpha is dropped.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::BufReader;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{ImageReader, Limits};
use lissom_tensor::{Tensor, max_tensor_bytes};

use crate::bounded::{open_file, read_lines};
use crate::format::{Format, Half, ImageAxes, Opened, Request, Source, files_in, lower_name};
use crate::pixels::Pixels;
use crate::prepare::Preparation;
use crate::settings::MAX_SIDE;
use crate::table::{csv_columns, find_column};
use crate::{DataError, Labels, Notice};

pub(crate) const FORMAT: Format = Format {
    name: "images",
    looks_like: "a folder of class folders with PNG, JPEG or BMP files, or of files with labels.csv",
    recognises: |path| is_image(path) || path.is_dir(),
    open,
};

/// What one image may take while it is decoded.
const DECODE_LIMIT_BYTES: u64 = 1 << 30;

fn is_image(path: &Path) -> bool {
    let name = lower_name(path);
    !name.starts_with('.') && [".png", ".jpg", ".jpeg", ".bmp"].iter().any(|end| name.ends_with(end))
}

/// What is where, before any file is decoded.
struct Listing {
    files: Vec<PathBuf>,
    labels: Option<Vec<i64>>,
    class_names: Option<Vec<String>>,
    notices: Vec<Notice>,
}

fn open(request: &Request<'_>) -> Result<Opened, DataError> {
    let Listing { files, labels, class_names, mut notices } = list(request.path)?;
    if files.is_empty() && labels.is_none() {
        return Err(DataError::UnknownFormat { path: request.path.into() });
    }
    let input = request.only_input()?;
    let (preparation, more) = Preparation::for_files(request.path, input, request.settings)?;
    notices.extend(more);
    if let Some(first) = files.first() {
        let size = header_size(first)?;
        let found = || format!("`{}`, an image of {}x{}", first.display(), size[0], size[1]);
        preparation.check(size, found)?;
    }
    let kept = files.iter().map(|_| OnceLock::new()).collect();
    let source =
        ImageFiles { files, preparation, kept, kept_bytes: AtomicUsize::new(0), limit_bytes: AtomicUsize::new(0) };
    Ok(Opened { source: Box::new(source), labels: labels.map(Labels::Classes), class_names, notices })
}

fn list(path: &Path) -> Result<Listing, DataError> {
    if !path.is_dir() {
        return Ok(Listing { files: vec![path.into()], labels: None, class_names: None, notices: Vec::new() });
    }
    let entries = files_in(path)?;
    if let Some(csv) = entries.iter().find(|entry| lower_name(entry) == "labels.csv") {
        return list_csv(path, csv, &entries);
    }
    let images: Vec<PathBuf> = entries.iter().filter(|entry| is_image(entry) && entry.is_file()).cloned().collect();
    let classes: Vec<PathBuf> =
        entries.into_iter().filter(|entry| entry.is_dir() && !lower_name(entry).starts_with('.')).collect();
    if classes.is_empty() {
        return Ok(Listing { files: images, labels: None, class_names: None, notices: Vec::new() });
    }
    let mut listing = list_classes(&classes)?;
    listing.notices.extend(ignored(&images));
    Ok(listing)
}

fn list_classes(classes: &[PathBuf]) -> Result<Listing, DataError> {
    let (mut files, mut labels, mut class_names, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        class_names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
        for file in files_in(class)? {
            if is_image(&file) {
                files.push(file);
                labels.push(label as i64);
            } else {
                others.push(file);
            }
        }
    }
    let notices = ignored(&others).into_iter().collect();
    Ok(Listing { files, labels: Some(labels), class_names: Some(class_names), notices })
}

fn ignored(files: &[PathBuf]) -> Option<Notice> {
    files.first().map(|first| Notice::FilesIgnored { count: files.len(), first: first.display().to_string() })
}

const FILE_COLUMNS: [&str; 9] =
    ["file", "filename", "file_name", "image", "image_file", "path", "name", "image_id", "imageid"];
const LABEL_COLUMNS: [&str; 9] =
    ["class_index", "label", "class_id", "label_index", "truelabel", "class", "target", "category", "index"];

fn list_csv(folder: &Path, csv: &Path, entries: &[PathBuf]) -> Result<Listing, DataError> {
    let lines = read_lines(csv)?;
    let rows: Vec<Vec<String>> = lines.iter().map(|line| csv_columns(line)).collect();
    let bad = |line: usize, reason: String| DataError::Text { path: csv.into(), line, reason };
    let header = rows.first().ok_or_else(|| DataError::Empty { path: csv.into() })?;
    let (file_column, label_column, first_row) =
        match (find_column(header, &FILE_COLUMNS), find_column(header, &LABEL_COLUMNS)) {
            (Some(file), Some(label)) => (file, label, 1),
            // No header: the first line is a file and its class already.
            _ if header.len() >= 2 && header[1].trim().parse::<i64>().is_ok() => (0, 1, 0),
            _ => {
                let reason = format!("columns `file` and `class_index` (or `label`) wanted, found {header:?}");
                return Err(bad(1, reason));
            }
        };
    let (mut files, mut words) = (Vec::new(), Vec::new());
    for (at, row) in rows.iter().enumerate().skip(first_row).filter(|(_, row)| **row != [""]) {
        let (Some(file), Some(word)) = (row.get(file_column), row.get(label_column)) else {
            return Err(bad(at + 1, format!("{} columns, the file and its class wanted", row.len())));
        };
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(bad(at + 1, format!("`{file}` leaves the folder of the data")));
        }
        let path = folder.join(file);
        if !path.is_file() {
            return Err(bad(at + 1, format!("there is no file `{file}`")));
        }
        files.push(path);
        words.push((at + 1, word.trim().to_string()));
    }
    let listed: BTreeSet<&PathBuf> = files.iter().collect();
    let unlisted: Vec<PathBuf> = entries.iter().filter(|e| is_image(e) && !listed.contains(e)).cloned().collect();
    let mut notices: Vec<Notice> = ignored(&unlisted).into_iter().collect();
    let (labels, class_names) = numbers_of(&words).map_err(|(line, reason)| bad(line, reason))?;
    notices.extend(class_names.as_ref().map(|names| Notice::LabelsAreNames { classes: names.len() }));
    Ok(Listing { files, labels: Some(labels), class_names, notices })
}

/// Class indices from what stands in the column: integers, or else names numbered in their order.
type Numbered = (Vec<i64>, Option<Vec<String>>);
fn numbers_of(words: &[(usize, String)]) -> Result<Numbered, (usize, String)> {
    let numbers: Vec<Option<i64>> = words.iter().map(|(_, word)| word.parse().ok()).collect();
    if numbers.iter().any(Option::is_some) || words.is_empty() {
        let pairs = numbers.into_iter().zip(words);
        let labels = pairs.map(|(number, (line, word))| {
            number.ok_or_else(|| (*line, format!("class `{word}` is no integer, others are")))
        });
        return Ok((labels.collect::<Result<_, _>>()?, None));
    }
    let names: BTreeSet<&str> = words.iter().map(|(_, word)| word.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let labels = words.iter().map(|(_, word)| names.binary_search(&word.as_str()).map_or(-1, |at| at as i64));
    Ok((labels.collect(), Some(names.iter().map(|name| name.to_string()).collect())))
}

fn reader(path: &Path) -> Result<ImageReader<BufReader<fs::File>>, DataError> {
    let (file, _) = open_file(path)?;
    let mut reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(|source| DataError::Read { path: path.into(), source })?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    limits.max_alloc = Some(DECODE_LIMIT_BYTES.min(max_tensor_bytes()));
    reader.limits(limits);
    Ok(reader)
}

/// Height and width, from the head of the file alone.
fn header_size(path: &Path) -> Result<[usize; 2], DataError> {
    let (width, height) = reader(path)?
        .into_dimensions()
        .map_err(|error| DataError::Image { path: path.into(), reason: error.to_string() })?;
    Ok([height as usize, width as usize])
}

/// Decodes a file to grey or RGB, 8 bits a channel.
fn decode(path: &Path) -> Result<Pixels, DataError> {
    let image =
        reader(path)?.decode().map_err(|error| DataError::Image { path: path.into(), reason: error.to_string() })?;
    let (height, width) = (image.height() as usize, image.width() as usize);
    Ok(if image.color().has_color() {
        Pixels { height, width, channels: 3, values: image.into_rgb8().into_raw() }
    } else {
        Pixels { height, width, channels: 1, values: image.into_luma8().into_raw() }
    })
}

struct ImageFiles {
    files: Vec<PathBuf>,
    preparation: Preparation,
    /// Images after colour, resize and crop, as far as `limit_bytes` allows; those asked for first.
    kept: Vec<OnceLock<Pixels>>,
    kept_bytes: AtomicUsize,
    limit_bytes: AtomicUsize,
}

impl ImageFiles {
    fn prepared(&self, row: usize) -> Result<Cow<'_, Pixels>, DataError> {
        if let Some(pixels) = self.kept[row].get() {
            return Ok(Cow::Borrowed(pixels));
        }
        let pixels = self.preparation.prepared(decode(&self.files[row])?)?;
        let bytes = pixels.values.len();
        let has_room = |kept: usize| {
            let after = kept.checked_add(bytes)?;
            (after <= self.limit_bytes.load(Ordering::Relaxed)).then_some(after)
        };
        // What is kept changes how long a batch takes, never what it holds.
        if self.kept_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room).is_err() {
            return Ok(Cow::Owned(pixels));
        }
        Ok(Cow::Borrowed(self.kept[row].get_or_init(|| pixels)))
    }
}

impl Source for ImageFiles {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn image_axes(&self) -> Option<ImageAxes> {
        Some(self.preparation.axes(None))
    }

    fn keep_decoded(&self, limit_bytes: usize) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    fn inputs(&self, rows: &[usize], _half: Half) -> Result<Vec<(String, Tensor)>, DataError> {
        self.preparation.batch_of_prepared(rows, |row| self.prepared(row))
    }

    fn hash_row(&self, row: usize, hasher: &mut blake3::Hasher) -> Result<(), DataError> {
        let path = &self.files[row];
        let bytes = fs::read(path).map_err(|source| DataError::Read { path: path.clone(), source })?;
        hasher.update(blake3::hash(&bytes).as_bytes());
        Ok(())
    }
}

impl fmt::Debug for ImageFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageFiles({})", self.files.len())
    }
}
