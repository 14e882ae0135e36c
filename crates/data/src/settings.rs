//! The settings of a data set: `data.toml`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::split::Split;

/// How a data set is read and prepared; every key of `data.toml`.
///
/// Relative paths inside are relative to the folder of `data.toml`. Nothing here is guessed from the pixels or the model:
/// a key that is absent means what its line says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// Name of a format in [`FORMATS`](crate::FORMATS); absent: recognised from the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// `"train"` or `"test"`, for folders that hold both. A path that ends in `#train` or `#test` overrides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Names of the classes, in the order of their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
    /// Added to every label: −1 for labels that count from 1. Absent: 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub label_offset: i64,
    /// How pixels become numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSettings>,
    /// How text becomes tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSettings>,
    /// The file this was read from; `None` for settings made in a program.
    #[serde(skip)]
    pub origin: Option<PathBuf>,
}

/// The `[image]` table: resize, crop, colour, then `(x / scale - mean) / std` for each channel.
///
/// The formula is computed in f32, in that order, as numpy and PyTorch do on float32 arrays.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSettings {
    /// `256`: the shorter side becomes 256, the longer keeps the aspect (rounded down, as torchvision).
    /// `[height, width]`: exactly that. Absent: no resizing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Size>,
    /// Filter of `resize`. Absent: `"bilinear"`.
    pub filter: Filter,
    /// `224` or `[height, width]`, cut from the centre after `resize`. Absent: no crop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Size>,
    /// Order of the channels the model is fed. Absent: image files become RGB, or grey if the model has one channel;
    /// arrays (npz, idx, CIFAR) keep the channels they have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// Order of the axes. Absent: from the shape of the model's input, `"nchw"` if that leaves it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// What pixel values 0..255 are divided by. Absent: 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// Taken away after `scale`: one value, or one for each channel in the order of `colour`. Absent: 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f32>,
    /// Divided by at the end; as `mean`. Absent: 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f32>,
}

/// The `[text]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSettings {
    /// A `tokenizer.json` of Hugging Face tokenizers. Needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Longer texts are cut to this many tokens, special ones included. Absent: the length the model fixes, else 128.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Column of the text, or columns of the two texts. Absent: the whole line is one text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// Column of the class index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<Column>,
    /// Column of a score, for pairs of texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_column: Option<Column>,
    /// Smallest and largest score; one outside is an error. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_range: Option<[f32; 2]>,
    /// What the model is fed of a pair. Absent: `"separate"`.
    pub pair: PairMode,
    /// How far shorter texts are filled up. Absent: `"longest"`, unless the model fixes the length.
    pub padding: Padding,
    /// Id of the padding token. Absent: the tokenizer's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_id: Option<u32>,
    /// The first line names the columns. Absent: it does if a column is given by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
}

/// One side, or height and width, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Size {
    /// A single number.
    Side(usize),
    /// `[height, width]`.
    Exact([usize; 2]),
}

/// Resampling filters, all antialiased as in Pillow's `Image.resize` (the kernel widens when shrinking), on 8-bit values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Triangle.
    #[default]
    Bilinear,
    /// Catmull-Rom, a = −0.5.
    Bicubic,
    /// Windowed sinc over three lobes.
    Lanczos,
}

/// Order and number of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red, green, blue; grey is repeated.
    Rgb,
    /// Blue, green, red; grey is repeated.
    Bgr,
    /// One channel, `(19595 R + 38470 G + 7471 B + 32768) >> 16` (ITU-R 601, as Pillow's `L`).
    Grey,
}

/// Order of the axes of a batch of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels before height and width.
    Nchw,
    /// Channels last.
    Nhwc,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Column {
    /// Counted from 1.
    Number(usize),
    /// By the name in the first line.
    Name(String),
}

/// How a pair of texts is fed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PairMode {
    /// Each text by itself: [`Batch::inputs`](crate::Batch::inputs) and [`Batch::second`](crate::Batch::second).
    #[default]
    Separate,
    /// Both in one sequence, told apart by `token_type_ids`.
    Together,
}

/// How far token rows are filled up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// To the longest text of the batch.
    #[default]
    Longest,
    /// To `max_tokens`.
    Max,
}

impl DataSettings {
    /// The settings of the data at `data`: those in `explicit` if given, else in `NAME.data.toml` beside the data (`NAME`
    /// is the file name without extension), else in `data.toml` inside the folder or beside the file, else none.
    ///
    /// # Errors
    /// [`DataError::Read`], [`DataError::Settings`].
    pub fn find(data: &Path, explicit: Option<&Path>) -> Result<Self, DataError> {
        if let Some(path) = explicit {
            return Self::read(path);
        }
        let (data, _) = crate::split::split_suffix(data);
        let stem = data.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let parent = data.parent().unwrap_or(Path::new(""));
        let general = if data.is_dir() { data.join("data.toml") } else { parent.join("data.toml") };
        for path in [parent.join(format!("{stem}.data.toml")), general] {
            if path.is_file() {
                return Self::read(&path);
            }
        }
        Ok(Self::default())
    }

    /// Reads a settings file.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = fs::read_to_string(path).map_err(|source| DataError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Reads settings from `text`; `path` names them in messages and is where relative paths start.
    ///
    /// # Errors
    /// [`DataError::Settings`] for a key or value that is not understood.
    pub fn parse(text: &str, path: &Path) -> Result<Self, DataError> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let reason = error.to_string().trim_end().to_string();
            DataError::Settings { path: path.into(), suggestion: nearest_key(error.message()), reason }
        })?;
        let settings = Self { origin: Some(path.into()), ..settings };
        settings.check()?;
        Ok(settings)
    }

    /// # Errors
    /// [`DataError::Settings`] for a value no data could go with.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        if let Some(name) = &self.format
            && !crate::FORMATS.iter().any(|format| format.name == name)
        {
            let names = crate::FORMATS.iter().map(|format| format.name);
            return Err(self.error(format!("there is no format `{name}`"), nearest(name, names)));
        }
        let image = self.image.clone().unwrap_or_default();
        if image.scale.is_some_and(|scale| !scale.is_finite() || scale == 0.0) {
            return Err(self.error("`scale` must be a number other than 0", None));
        }
        for (key, values) in [("mean", &image.mean), ("std", &image.std)] {
            if values.iter().any(|x| !x.is_finite()) || (key == "std" && values.contains(&0.0)) {
                return Err(self.error(format!("`{key}` must hold numbers{}", non_zero(key)), None));
            }
        }
        for (key, size) in [("resize", image.resize), ("crop", image.crop)] {
            let [h, w] = size.map_or([1, 1], Size::height_width);
            if !(1..=MAX_SIDE).contains(&h) || !(1..=MAX_SIDE).contains(&w) {
                return Err(self.error(format!("`{key}` must be 1 to {MAX_SIDE} pixels"), None));
            }
        }
        Ok(())
    }

    /// What the settings say about the numbers that come out, as TOML: no names, no paths, nothing about where data lies.
    pub(crate) fn identity(&self) -> Result<String, DataError> {
        let mut settings = Self { format: None, split: None, class_names: None, ..self.clone() };
        if let Some(text) = &mut settings.text {
            text.tokenizer = None;
        }
        toml::to_string(&settings).map_err(|error| self.error(error.to_string(), None))
    }

    /// `path`, from the folder of the settings if it is relative.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        let folder = self.origin.as_deref().and_then(Path::parent);
        folder.map_or_else(|| path.to_path_buf(), |folder| folder.join(path))
    }

    pub(crate) fn error(&self, reason: impl Into<String>, suggestion: Option<String>) -> DataError {
        let path = self.origin.clone().unwrap_or_else(|| "data.toml".into());
        DataError::Settings { path, reason: reason.into(), suggestion }
    }
}

/// Longest side an image may be resized to or decoded at.
pub(crate) const MAX_SIDE: usize = 1 << 15;

impl Size {
    /// Height and width of a crop: a single number is a square.
    pub(crate) fn height_width(self) -> [usize; 2] {
        match self {
            Self::Side(side) => [side, side],
            Self::Exact(size) => size,
        }
    }
}

fn non_zero(key: &str) -> &'static str {
    if key == "std" { " other than 0" } else { "" }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// The known key nearest to the unknown one that serde's message names.
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown") {
        return None;
    }
    let unknown = quoted.next()?;
    nearest(unknown, quoted)
}

/// The name nearest to `unknown`, if near enough to be what was meant: one slip in three letters.
fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::osa_distance(unknown, name), name))
        .filter(|(slips, _)| *slips <= (unknown.chars().count() / 3).max(1))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DataSettings, DataError> {
        DataSettings::parse(text, Path::new("somewhere/data.toml"))
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_the_right_one() {
        let error = parse("[image]\nscale = 255.0\nmeen = [0.5]\n").unwrap_err();
        let message = error.to_string();
        assert!(message.contains("meen") && message.contains("line 3"), "{message}");
        assert_eq!(error.hint().unwrap(), "did you mean `mean`?");
        assert_eq!(parse("[texts]").unwrap_err().hint().unwrap(), "did you mean `text`?");
        assert_eq!(parse("format = \"cifer\"").unwrap_err().hint().unwrap(), "did you mean `cifar`?");
        assert_eq!(parse("[image]\ncolour = \"rbg\"").unwrap_err().hint().unwrap(), "did you mean `rgb`?");
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused() {
        for text in ["std = [0.0]", "scale = 0.0", "scale = nan", "mean = [inf]", "resize = 0", "crop = [1, 99999999]"]
        {
            let error = parse(&format!("[image]\n{text}")).unwrap_err();
            assert!(matches!(error, DataError::Settings { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn settings_survive_writing() {
        let text = "label_offset = -1\n[image]\nresize = [32, 40]\nfilter = \"bicubic\"\nmean = [0.5]\n";
        let settings = parse(text).unwrap();
        let again = parse(&toml::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
        assert_eq!(again.image.unwrap().resize, Some(Size::Exact([32, 40])));
    }

    #[test]
    fn the_nearest_settings_file_wins() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("test.npz");
        fs::write(&data, "").unwrap();
        assert_eq!(DataSettings::find(&data, None).unwrap(), DataSettings::default());
        let write = |name: &str, offset: i64| {
            fs::write(folder.path().join(name), format!("label_offset = {offset}")).unwrap();
        };
        write("data.toml", 1);
        assert_eq!(DataSettings::find(&data, None).unwrap().label_offset, 1);
        assert_eq!(DataSettings::find(folder.path(), None).unwrap().label_offset, 1);
        write("test.data.toml", 2);
        assert_eq!(DataSettings::find(&data, None).unwrap().label_offset, 2);
        write("other.toml", 3);
        assert_eq!(DataSettings::find(&data, Some(&folder.path().join("other.toml"))).unwrap().label_offset, 3);
    }
}
