//! What can go wrong with data, with the place, both sides and the fix.

use std::io;
use std::path::PathBuf;

use lissom_tensor::{DType, TensorError};

use crate::InputSpec;

/// Why data could not be read, prepared or written. Each variant says where and what; [`DataError::hint`] says what to
/// do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the messages say what the fields are
pub enum DataError {
    #[error("no data at `{}`", path.display())]
    NotFound { path: PathBuf },
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` is no kind of data known here", path.display())]
    UnknownFormat { path: PathBuf },
    #[error("`{}`: {what} needs {expected} bytes, there are {actual}", path.display())]
    Truncated { path: PathBuf, what: String, expected: u64, actual: u64 },
    #[error("`{}`: {place}: {reason}", path.display())]
    Malformed { path: PathBuf, place: String, reason: String },
    #[error("`{}`: {what} would take {bytes} bytes, the limit is {limit_bytes}", path.display())]
    TooLarge { path: PathBuf, what: String, bytes: u64, limit_bytes: u64 },
    #[error("settings `{}`: {reason}", path.display())]
    Settings { path: PathBuf, reason: String, suggestion: Option<String> },
    #[error("model wants input {input}, `{}` has {found}", path.display())]
    InputMismatch { path: PathBuf, input: Box<InputSpec>, found: String, fix: Option<String> },
    #[error("model wants input {input}, `{}` has no such array (it has {})", path.display(), list(found))]
    MissingInput { path: PathBuf, input: Box<InputSpec>, found: Vec<String> },
    #[error("the model has {} inputs ({}), `{}` can feed one only", inputs.len(), list(inputs), path.display())]
    ManyInputs { path: PathBuf, inputs: Vec<String> },
    #[error("`{}` has {samples} samples and {labels} labels", path.display())]
    LabelCount { path: PathBuf, samples: usize, labels: usize },
    #[error("`{}`: labels must be a list of integers, found {found}", path.display())]
    LabelType { path: PathBuf, found: String },
    #[error("`{}`: sample {row} has label {label}, the model has {classes} classes (0 to {})", path.display(), *classes as i64 - 1)]
    LabelRange { path: PathBuf, row: usize, label: i64, classes: usize },
    #[error("`{}`: all {samples} samples have the label {label}, an accuracy over one class says nothing", path.display())]
    OneClass { path: PathBuf, label: i64, samples: usize },
    #[error("`{}` has no {wanted}", path.display())]
    MissingLabels { path: PathBuf, wanted: &'static str },
    #[error("`{}` holds no samples", path.display())]
    Empty { path: PathBuf },
    #[error("{asked} samples asked for, `{}` has {available}", path.display())]
    TooFewSamples { path: PathBuf, asked: usize, available: usize },
    #[error("`{}`: array `{array}` holds {value} at {index:?}", path.display())]
    NotFinite { path: PathBuf, array: String, index: Vec<usize>, value: f64 },
    #[error("cannot decode image `{}`: {reason}", path.display())]
    Image { path: PathBuf, reason: String },
    #[error("`{}`, line {line}: {reason}", path.display())]
    Text { path: PathBuf, line: usize, reason: String },
    #[error("tokenizer `{}`: {reason}", path.display())]
    Tokenizer { path: PathBuf, reason: String },
    #[error("augmentation `{name}` of `{}`: {reason}", path.display())]
    Augmentation { path: PathBuf, name: String, reason: String },
    #[error("batches of {asked} samples: {reason}")]
    BatchSize { asked: usize, reason: String },
    #[error("array `{array}`: numpy has no type for {dtype}")]
    NoNumpyType { array: String, dtype: DType },
    #[error("array `{array}` of `{}`", path.display())]
    Tensor { path: PathBuf, array: String, source: TensorError },
}

impl DataError {
    /// What to do about it, if there is something to say beyond the message.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotFound { .. } => {
                "check the path; for one of several splits in a folder write `FOLDER#train`".into()
            }
            Self::UnknownFormat { .. } => {
                let known: Vec<_> = crate::FORMATS.iter().map(|f| format!("{} ({})", f.name, f.looks_like)).collect();
                format!("known: {}; `format = \"...\"` in data.toml names one", known.join(", "))
            }
            Self::Truncated { .. } => "the file was cut off or is not of this kind: fetch it again".into(),
            Self::TooLarge { .. } => {
                "if you trust the file: unpack it first, or raise `--max-memory` where that is the limit".into()
            }
            Self::Settings { suggestion: Some(name), .. } => format!("did you mean `{name}`?"),
            Self::InputMismatch { fix, .. } => return fix.clone(),
            Self::MissingInput { input, .. } => {
                format!("name an array `{}`: numpy.savez(path, **{{\"{0}\": x, \"labels\": y}})", input.name)
            }
            Self::ManyInputs { .. } => "save one array for each input, by name, in an npz".into(),
            Self::LabelRange { label, classes, .. } if *label == *classes as i64 => {
                "labels that count from 1 are shifted by `label_offset = -1` in data.toml".into()
            }
            Self::LabelRange { .. } => "is this the data of this model?".into(),
            Self::OneClass { .. } => "use a larger or shuffled part of the data".into(),
            Self::MissingLabels { wanted: "scores", .. } => {
                "npz: an array `scores`; text: `score_column` under [text] in data.toml".into()
            }
            Self::MissingLabels { .. } => "npz: an array `labels`; images: class folders or labels.csv; \
                 text: `label_column` under [text] in data.toml"
                .into(),
            Self::NotFinite { .. } => "clean the data: one NaN spoils every statistic taken from it".into(),
            Self::NoNumpyType { .. } => "cast the output to float32 in the model".into(),
            _ => return None,
        };
        Some(text)
    }
}

/// `a`, `b` and so on, for messages; long lists are cut.
fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    let mut text = names.iter().take(12).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 12 {
        text += &format!(" and {} more", names.len() - 12);
    }
    text
}
