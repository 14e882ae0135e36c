//! The kinds of data that can be read, and how one is recognised.

use std::fmt;
use std::path::{Path, PathBuf};

use lissom_tensor::Tensor;

use crate::settings::Layout;
use crate::split::Split;
use crate::{DataError, DataSettings, InputSpec, Labels, Notice, cifar, idx, image_folder, npz, text};

/// A kind of data. One file each.
pub struct Format {
    /// Its name in `format = "..."`.
    pub name: &'static str,
    /// What the files look like, for people.
    pub looks_like: &'static str,
    pub(crate) recognises: fn(&Path) -> bool,
    pub(crate) open: fn(&Request<'_>) -> Result<Opened, DataError>,
}

/// Every kind, in the order they are tried.
pub static FORMATS: &[Format] = &[npz::FORMAT, idx::FORMAT, cifar::FORMAT, text::FORMAT, image_folder::FORMAT];

/// What a format is asked to open.
pub(crate) struct Request<'a> {
    pub path: &'a Path,
    pub split: Option<Split>,
    pub settings: &'a DataSettings,
    pub inputs: &'a [InputSpec],
}

/// What a format found.
pub(crate) struct Opened {
    pub source: Box<dyn Source>,
    pub labels: Option<Labels>,
    pub class_names: Option<Vec<String>>,
    pub notices: Vec<Notice>,
}

/// The two texts of a pair; everything else has the first half only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    First,
    Second,
}

/// Where in a fed tensor the pixels of its images are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImageAxes {
    pub channels: usize,
    /// Height and width, where they do not depend on the sample.
    pub size: Option<[usize; 2]>,
    pub layout: Layout,
    /// What a pixel of value 0 became, for each channel.
    pub black: Vec<f32>,
    /// True if the model takes images of one size only.
    pub is_fixed: bool,
}

/// Samples that can be fetched by position.
pub(crate) trait Source: Send + Sync + fmt::Debug {
    /// Number of samples.
    fn len(&self) -> usize;

    /// True if every sample has a second half.
    fn is_paired(&self) -> bool {
        false
    }

    /// True if a sample is one whole input of the model, so that batches hold one.
    fn is_whole(&self) -> bool {
        false
    }

    /// How the images lie in the only input, if samples are images.
    fn image_axes(&self) -> Option<ImageAxes> {
        None
    }

    /// Allows it to keep decoded samples, so that the next time they are asked for is quicker. 0, as at first, keeps none.
    fn keep_decoded(&self, _limit_bytes: usize) {}

    /// The samples at `rows` as the model wants them, in that order.
    fn inputs(&self, rows: &[usize], half: Half) -> Result<Vec<(String, Tensor)>, DataError>;

    /// Feeds what sample `row` is made of, before preparation, to `hasher`.
    fn hash_row(&self, row: usize, hasher: &mut blake3::Hasher) -> Result<(), DataError>;

    /// Feeds what all samples share (a tokenizer, say) to `hasher`.
    fn hash_shared(&self, _hasher: &mut blake3::Hasher) {}
}

impl Request<'_> {
    /// The only input of the model.
    pub fn only_input(&self) -> Result<&InputSpec, DataError> {
        match self.inputs {
            [input] => Ok(input),
            _ => {
                let inputs = self.inputs.iter().map(|input| input.name.clone()).collect();
                Err(DataError::ManyInputs { path: self.path.into(), inputs })
            }
        }
    }
}

/// The format named in the settings, or the first that recognises the files.
pub(crate) fn choose(path: &Path, settings: &DataSettings) -> Result<&'static Format, DataError> {
    let named = settings.format.as_deref();
    FORMATS
        .iter()
        .find(|format| named.map_or_else(|| (format.recognises)(path), |name| format.name == name))
        .ok_or_else(|| DataError::UnknownFormat { path: path.into() })
}

/// The plain files of a folder, by name.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let error = |source| DataError::Read { path: folder.into(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        paths.push(entry.map_err(error)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// File name in lower case; empty if there is none.
pub(crate) fn lower_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}
