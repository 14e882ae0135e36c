//! A data set: samples a model can be fed, with or without the right answers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lissom_tensor::Tensor;

use crate::format::{Half, ImageAxes, Opened, Request, Source, choose};
use crate::{DataError, DataSettings, InputSpec, order, split};

/// Samples in a fixed order, with their labels. Cloning is cheap; shuffles and subsets are new views of the same data.
#[derive(Debug, Clone)]
pub struct Dataset {
    path: PathBuf,
    format: &'static str,
    source: Arc<dyn Source>,
    /// Positions in `source`, in the order of this view.
    rows: Arc<[usize]>,
    /// One for each sample of `source`.
    labels: Option<Arc<Labels>>,
    class_names: Option<Arc<[String]>>,
    notices: Vec<Notice>,
    /// The settings that change what comes out, as TOML: part of the identity of the data.
    settings: String,
    fixed_batch: Option<usize>,
}

/// The right answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// Class index of each sample.
    Classes(Vec<i64>),
    /// A number for each sample: how alike the two texts of a pair are.
    Scores(Vec<f32>),
}

/// A few samples together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// One tensor for each input of the model, in the order of the [`InputSpec`]s.
    pub inputs: Vec<(String, Tensor)>,
    /// The same for the second texts, when samples are pairs of texts that are fed separately.
    pub second: Option<Vec<(String, Tensor)>>,
    /// The right answers, if the data has them.
    pub labels: Option<Labels>,
    /// Position of each sample in the files.
    pub rows: Vec<usize>,
}

/// Something done with the data that was not asked for in so many words, for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // the messages say what the fields are
pub enum Notice {
    PixelsScaled,
    SettingsUnused { input: String, found: String },
    NameIgnored { array: String, input: String },
    ArraysUnused { arrays: Vec<String> },
    SplitChosen { split: split::Split },
    FilesIgnored { count: usize, first: String },
    LabelsAreNames { classes: usize },
    OneAtATime { found: String },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PixelsScaled => write!(f, "no pre-processing given in data.toml: pixels scaled to 0..1"),
            Self::SettingsUnused { input, found } => {
                write!(f, "[image] settings not applied to `{input}`: it is already {found}")
            }
            Self::NameIgnored { array, input } => write!(f, "array `{array}` feeds input `{input}`, the only ones"),
            Self::ArraysUnused { arrays } => write!(f, "arrays not used: {}", arrays.join(", ")),
            Self::SplitChosen { split } => {
                write!(f, "the folder holds train and test data: {split} used (`FOLDER#train` names the other)")
            }
            Self::FilesIgnored { count, first } => write!(f, "{count} files ignored, `{first}` first"),
            Self::LabelsAreNames { classes } => {
                write!(f, "labels are names: {classes} classes numbered in the order of their names")
            }
            Self::OneAtATime { found } => write!(f, "each sample is a whole input ({found}): one a batch"),
        }
    }
}

/// Opens the data at `path` to feed a model with `inputs`.
///
/// `path` is a file or a folder; `FOLDER#train` and `FOLDER#test` name a part of a folder that holds both. What the kinds
/// of data look like is in the [crate documentation](crate).
///
/// # Errors
/// A [`DataError`] if the files are not what they seem, or are not what the model wants.
pub fn open(path: &Path, settings: &DataSettings, inputs: &[InputSpec]) -> Result<Dataset, DataError> {
    settings.check()?;
    let (path, suffix) = split::split_suffix(path);
    if !path.exists() {
        return Err(DataError::NotFound { path });
    }
    let format = choose(&path, settings)?;
    let request = Request { path: &path, split: suffix.or(settings.split), settings, inputs };
    let Opened { source, labels, class_names, notices } = (format.open)(&request)?;
    if source.len() == 0 {
        return Err(DataError::Empty { path });
    }
    let labels = labels.map(|labels| shifted(labels, settings.label_offset));
    if let Some(labels) = &labels {
        check_labels(&path, labels, source.len())?;
    }
    Ok(Dataset {
        format: format.name,
        rows: (0..source.len()).collect(),
        source: source.into(),
        labels: labels.map(Arc::new),
        class_names: settings.class_names.clone().or(class_names).map(Into::into),
        notices,
        settings: settings.identity()?,
        fixed_batch: inputs.iter().find_map(|input| input.shape.first().copied().flatten()),
        path,
    })
}

fn shifted(labels: Labels, offset: i64) -> Labels {
    match labels {
        Labels::Classes(classes) => Labels::Classes(classes.into_iter().map(|c| c.saturating_add(offset)).collect()),
        scores => scores,
    }
}

fn check_labels(path: &Path, labels: &Labels, samples: usize) -> Result<(), DataError> {
    if labels.len() != samples {
        return Err(DataError::LabelCount { path: path.into(), samples, labels: labels.len() });
    }
    if let Labels::Scores(scores) = labels
        && let Some(row) = scores.iter().position(|score| !score.is_finite())
    {
        let value = scores[row].into();
        return Err(DataError::NotFinite { path: path.into(), array: "scores".into(), index: vec![row], value });
    }
    Ok(())
}

impl Labels {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Scores(scores) => scores.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn at(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(rows.iter().map(|&row| classes[row]).collect()),
            Self::Scores(scores) => Self::Scores(rows.iter().map(|&row| scores[row]).collect()),
        }
    }
}

impl Dataset {
    /// Number of samples; never 0.
    #[allow(clippy::len_without_is_empty)] // empty data is refused when opened
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where the data lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of its kind in [`FORMATS`](crate::FORMATS).
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// What was done without being asked for.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The right answers, in the order of the samples.
    pub fn labels(&self) -> Option<Labels> {
        self.labels.as_ref().map(|labels| labels.at(&self.rows))
    }

    /// True if samples are pairs of texts fed separately ([`Batch::second`]).
    pub fn is_paired(&self) -> bool {
        self.source.is_paired()
    }

    /// Names of the classes, by label, if they are known.
    pub fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    /// Number of classes: of their names, or else one more than the largest label. `None` without class labels.
    pub fn class_count(&self) -> Option<usize> {
        match self.labels.as_deref()? {
            Labels::Classes(classes) => {
                let largest = classes.iter().copied().max().and_then(|label| usize::try_from(label).ok());
                let labelled = largest.map_or(0, |label| label.saturating_add(1));
                Some(self.class_names.as_ref().map_or(labelled, |names| names.len()))
            }
            Labels::Scores(_) => None,
        }
    }

    /// The number of samples the model wants at once, if its inputs fix it.
    pub fn fixed_batch(&self) -> Option<usize> {
        if self.source.is_whole() { Some(1) } else { self.fixed_batch }
    }

    /// Checks that the samples have class labels a model of `classes` classes can be judged by.
    ///
    /// # Errors
    /// [`DataError::MissingLabels`], [`DataError::LabelRange`], [`DataError::OneClass`].
    pub fn require_classes(&self, classes: usize) -> Result<Vec<i64>, DataError> {
        let Some(Labels::Classes(labels)) = self.labels() else {
            return Err(DataError::MissingLabels { path: self.path.clone(), wanted: "labels" });
        };
        let path = self.path.clone();
        let outside = |&label: &i64| usize::try_from(label).map_or(true, |label| label >= classes);
        if let Some(position) = labels.iter().position(outside) {
            let (row, label) = (self.rows[position], labels[position]);
            return Err(DataError::LabelRange { path, row, label, classes });
        }
        if labels.len() > 1 && labels.iter().all(|&label| label == labels[0]) {
            return Err(DataError::OneClass { path, label: labels[0], samples: labels.len() });
        }
        Ok(labels)
    }

    /// Checks that the samples have scores.
    ///
    /// # Errors
    /// [`DataError::MissingLabels`].
    pub fn require_scores(&self) -> Result<Vec<f32>, DataError> {
        match self.labels() {
            Some(Labels::Scores(scores)) => Ok(scores),
            _ => Err(DataError::MissingLabels { path: self.path.clone(), wanted: "scores" }),
        }
    }

    /// The samples in an order drawn by `seed`.
    pub fn shuffled(&self, seed: u64) -> Self {
        let mut rows = self.rows.to_vec();
        order::shuffle(&mut rows, &mut order::generator(seed));
        self.with_rows(rows)
    }

    /// The first `n` samples.
    ///
    /// # Errors
    /// [`DataError::TooFewSamples`], [`DataError::Empty`] for none.
    pub fn first(&self, n: usize) -> Result<Self, DataError> {
        self.check_subset(n)?;
        Ok(self.with_rows(self.rows[..n].to_vec()))
    }

    /// `n` samples drawn by `seed`, in the order they have here.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn subset(&self, n: usize, seed: u64) -> Result<Self, DataError> {
        self.check_subset(n)?;
        Ok(self.with_rows(order::choose(&self.rows, n, seed)))
    }

    /// Like [`subset`](Self::subset), with each class in its share (to within one sample).
    ///
    /// # Errors
    /// As [`first`](Self::first), and [`DataError::MissingLabels`].
    pub fn stratified_subset(&self, n: usize, seed: u64) -> Result<Self, DataError> {
        self.check_subset(n)?;
        match self.labels.as_deref() {
            Some(Labels::Classes(classes)) => {
                Ok(self.with_rows(order::choose_stratified(&self.rows, n, seed, |row| classes[row])))
            }
            _ => Err(DataError::MissingLabels { path: self.path.clone(), wanted: "labels" }),
        }
    }

    fn check_subset(&self, n: usize) -> Result<(), DataError> {
        match n {
            0 => Err(DataError::Empty { path: self.path.clone() }),
            n if n > self.len() => {
                Err(DataError::TooFewSamples { path: self.path.clone(), asked: n, available: self.len() })
            }
            _ => Ok(()),
        }
    }

    fn with_rows(&self, rows: Vec<usize>) -> Self {
        Self { rows: rows.into(), ..self.clone() }
    }

    /// The samples in order, `batch_size` at a time (0 counts as 1, and so does any size when each sample is a whole
    /// input); the last batch holds what is left. After an error the rest may still be asked for.
    pub fn batches(&self, batch_size: usize) -> Batches<'_> {
        let batch_size = if self.source.is_whole() { 1 } else { batch_size.max(1) };
        Batches { dataset: self, chunks: self.rows.chunks(batch_size) }
    }

    /// The samples at `positions` of this view, as one batch.
    ///
    /// # Errors
    /// [`DataError::TooFewSamples`] for a position that is not there; what reading the samples gives.
    pub fn batch(&self, positions: &[usize]) -> Result<Batch, DataError> {
        let row_at = |&position: &usize| {
            let missing = || DataError::TooFewSamples {
                path: self.path.clone(),
                asked: position.saturating_add(1),
                available: self.len(),
            };
            self.rows.get(position).copied().ok_or_else(missing)
        };
        let rows: Vec<usize> = positions.iter().map(row_at).collect::<Result<_, _>>()?;
        self.fetch(&rows)
    }

    /// Position of each sample in the files.
    pub(crate) fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// How the images lie in the only input, if samples are images.
    pub(crate) fn image_axes(&self) -> Option<ImageAxes> {
        self.source.image_axes()
    }

    /// Lets decoded samples be kept, up to `limit_bytes`.
    pub(crate) fn keep_decoded(&self, limit_bytes: usize) {
        self.source.keep_decoded(limit_bytes);
    }

    fn fetch(&self, rows: &[usize]) -> Result<Batch, DataError> {
        let second = if self.source.is_paired() { Some(self.source.inputs(rows, Half::Second)?) } else { None };
        Ok(Batch {
            inputs: self.source.inputs(rows, Half::First)?,
            second,
            labels: self.labels.as_ref().map(|labels| labels.at(rows)),
            rows: rows.to_vec(),
        })
    }

    /// Hash (BLAKE3, hexadecimal) of what the samples are: their content before preparation, order, labels and the settings.
    /// Where the files lie does not matter. Reads every image file, so it takes the time of reading the data once.
    ///
    /// # Errors
    /// What reading the samples gives.
    pub fn hash(&self) -> Result<String, DataError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("lissom data 1\n{}\n{}\n", self.format, self.settings).as_bytes());
        self.source.hash_shared(&mut hasher);
        for &row in self.rows.iter() {
            match self.labels.as_deref() {
                Some(Labels::Classes(classes)) => hasher.update(&classes[row].to_le_bytes()),
                Some(Labels::Scores(scores)) => hasher.update(&scores[row].to_le_bytes()),
                None => hasher.update(b"-"),
            };
            self.source.hash_row(row, &mut hasher)?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// Iterator over [`Batch`]es; see [`Dataset::batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    dataset: &'a Dataset,
    chunks: std::slice::Chunks<'a, usize>,
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chunks.next().map(|rows| self.dataset.fetch(rows))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.chunks.size_hint()
    }
}

impl ExactSizeIterator for Batches<'_> {}
