//! Text, one sample a line: `.txt` (the whole line), or `.tsv` with columns separated by tabs (quotes mean nothing). With two
//! text columns a sample is a pair.
//!
//! Feeds `input_ids`, `attention_mask` (1 on tokens, 0 on padding) and `token_type_ids`, whichever the model has, i64 or i32.

use std::fmt;
use std::path::{Path, PathBuf};

use lissom_tensor::{DType, Tensor, TensorError};
use tokenizers::{EncodeInput, PaddingDirection, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::bounded::{read_bytes, read_lines};
use crate::format::{Format, Half, Opened, Request, Source, lower_name};
use crate::settings::{Column, Padding, PairMode, TextSettings};
use crate::{DataError, InputSpec, Labels};

pub(crate) const FORMAT: Format = Format {
    name: "text",
    looks_like: ".txt or .tsv, with a tokenizer in data.toml",
    recognises: |path| path.is_file() && [".txt", ".tsv"].iter().any(|end| lower_name(path).ends_with(end)),
    open,
};

/// Tokens kept of a text where neither the settings nor the model say.
const USUAL_MAX_TOKENS: usize = 128;

fn open(request: &Request<'_>) -> Result<Opened, DataError> {
    let settings = request.settings.text.clone().unwrap_or_default();
    let Some(tokenizer) = &settings.tokenizer else {
        let reason = format!("`{}` is text: [text] must name a `tokenizer` (a tokenizer.json)", request.path.display());
        return Err(request.settings.error(reason, None));
    };
    let (texts, labels) = Columns::new(request, &settings)?.read(request.path, &settings)?;
    let tokens = Tokens::new(request, &settings, request.settings.resolve(tokenizer))?;
    Ok(Opened { source: Box::new(Texts { texts, tokens }), labels, class_names: None, notices: Vec::new() })
}

/// Positions of the columns that are used; no text columns means the whole line.
struct Columns {
    texts: Vec<usize>,
    label: Option<usize>,
    score: Option<usize>,
    lines: Vec<String>,
    first_line: usize,
}

/// One or two texts a sample, and the answers.
type Samples = (Vec<Vec<String>>, Option<Labels>);

impl Columns {
    fn new(request: &Request<'_>, settings: &TextSettings) -> Result<Self, DataError> {
        let lines = read_lines(request.path)?;
        let asked = || settings.columns.iter().chain(&settings.label_column).chain(&settings.score_column);
        let by_name = asked().any(|column| matches!(column, Column::Name(_)));
        let has_header = settings.header.unwrap_or(by_name);
        let header: Vec<&str> = lines.first().map(|line| line.split('\t').collect()).unwrap_or_default();
        let position = |column: &Column| match column {
            Column::Number(0) => Err(request.settings.error("columns are counted from 1", None)),
            Column::Number(number) => Ok(number - 1),
            Column::Name(name) => header.iter().position(|column| column.trim() == name).ok_or_else(|| {
                let reason = format!("`{}` has no column `{name}`, it has {header:?}", request.path.display());
                request.settings.error(reason, None)
            }),
        };
        if settings.columns.len() > 2 {
            return Err(request.settings.error("`columns` names one or two columns of text", None));
        }
        if settings.columns.is_empty() && (header.len() > 1 || asked().next().is_some()) {
            let reason =
                format!("the first line has {} columns: `columns = [...]` must say which hold text", header.len());
            return Err(request.settings.error(reason, None));
        }
        Ok(Self {
            texts: settings.columns.iter().map(position).collect::<Result<_, _>>()?,
            label: settings.label_column.as_ref().map(position).transpose()?,
            score: settings.score_column.as_ref().map(position).transpose()?,
            first_line: usize::from(has_header),
            lines,
        })
    }

    fn read(&self, path: &Path, settings: &TextSettings) -> Result<Samples, DataError> {
        let (mut texts, mut classes, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        let lines = self.lines.iter().enumerate().skip(self.first_line).filter(|(_, line)| !line.trim().is_empty());
        for (at, line) in lines {
            let bad = |reason: String| DataError::Text { path: path.into(), line: at + 1, reason };
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |column: usize| {
                let missing = || bad(format!("{} columns, column {} is wanted", cells.len(), column + 1));
                cells.get(column).copied().ok_or_else(missing)
            };
            texts.push(if self.texts.is_empty() {
                vec![line.clone()]
            } else {
                self.texts.iter().map(|&column| cell(column).map(String::from)).collect::<Result<_, _>>()?
            });
            if let Some(column) = self.label {
                let word = cell(column)?.trim();
                classes.push(word.parse::<i64>().map_err(|_| bad(format!("label `{word}` is no integer")))?);
            }
            if let Some(column) = self.score {
                scores.push(score(cell(column)?, settings).map_err(bad)?);
            }
        }
        let labels = match (self.label, self.score) {
            (Some(_), Some(_)) => {
                let reason = "`label_column` and `score_column` exclude each other".to_string();
                return Err(DataError::Settings { path: path.into(), reason, suggestion: None });
            }
            (Some(_), None) => Some(Labels::Classes(classes)),
            (None, Some(_)) => Some(Labels::Scores(scores)),
            (None, None) => None,
        };
        Ok((texts, labels))
    }
}

fn score(cell: &str, settings: &TextSettings) -> Result<f32, String> {
    let word = cell.trim();
    let score: f32 = word.parse().map_err(|_| format!("score `{word}` is no number"))?;
    let [low, high] = settings.score_range.unwrap_or([f32::MIN, f32::MAX]);
    if (low..=high).contains(&score) { Ok(score) } else { Err(format!("score {score} is outside {low} to {high}")) }
}

/// What an input of the model holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Ids,
    Mask,
    Types,
}

/// From text to tensors.
struct Tokens {
    path: PathBuf,
    tokenizer: Tokenizer,
    hash: blake3::Hash,
    inputs: Vec<(InputSpec, Role)>,
    pair: PairMode,
    /// Rows are filled up to this; `None` for the longest of the batch.
    fixed_len: Option<usize>,
    pad_id: u32,
    pads_left: bool,
}

impl Tokens {
    fn new(request: &Request<'_>, settings: &TextSettings, path: PathBuf) -> Result<Self, DataError> {
        let inputs = roles(request)?;
        let bytes = read_bytes(&path)?;
        let failed = |reason: String| DataError::Tokenizer { path: path.clone(), reason };
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| failed(error.to_string()))?;
        let padding = tokenizer.get_padding().cloned();
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| failed(error.to_string()))?;
        let max_tokens = max_tokens(request, settings, &inputs)?;
        // Asking for fewer tokens than the special ones overflows inside the library.
        let special =
            tokenizer.encode(EncodeInput::from(("", "")), true).map_err(|error| failed(error.to_string()))?.len();
        if max_tokens <= special {
            let reason = format!("`max_tokens` is {max_tokens}, the tokenizer adds up to {special} by itself");
            return Err(request.settings.error(reason, None));
        }
        let truncation = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: max_tokens,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| failed(error.to_string()))?;
        let known = || ["[PAD]", "<pad>", "<|endoftext|>"].iter().find_map(|token| tokenizer.token_to_id(token));
        let pad_id = settings.pad_id.or(padding.as_ref().map(|padding| padding.pad_id)).or_else(known);
        let pad_id =
            pad_id.ok_or_else(|| request.settings.error("the tokenizer names no padding token: set `pad_id`", None))?;
        let model_len = inputs.iter().find_map(|(input, _)| input.shape[1]);
        let fixed_len = if model_len.is_some() || settings.padding == Padding::Max { Some(max_tokens) } else { None };
        Ok(Self {
            hash: blake3::hash(&bytes),
            tokenizer,
            inputs,
            pair: settings.pair,
            fixed_len: model_len.or(fixed_len),
            pad_id,
            pads_left: padding.is_some_and(|padding| matches!(padding.direction, PaddingDirection::Left)),
            path,
        })
    }

    /// One row of every input for each of `texts`.
    fn tensors(&self, texts: &[EncodeInput<'_>]) -> Result<Vec<(String, Tensor)>, DataError> {
        let failed = |reason: String| DataError::Tokenizer { path: self.path.clone(), reason };
        let encode =
            |text: &EncodeInput<'_>| self.tokenizer.encode(text.clone(), true).map_err(|e| failed(e.to_string()));
        let encodings: Vec<_> = texts.iter().map(encode).collect::<Result<_, _>>()?;
        let longest = encodings.iter().map(|encoding| encoding.len()).max().unwrap_or(0);
        let len = self.fixed_len.unwrap_or(longest.max(1));
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for (input, role) in &self.inputs {
            let mut values: Vec<i64> = Vec::with_capacity(encodings.len() * len);
            for encoding in &encodings {
                let (row, pad) = match role {
                    Role::Ids => (encoding.get_ids(), self.pad_id),
                    Role::Mask => (encoding.get_attention_mask(), 0),
                    Role::Types => (encoding.get_type_ids(), 0),
                };
                let row = &row[..row.len().min(len)];
                let filling = std::iter::repeat_n(i64::from(pad), len - row.len());
                let row = row.iter().map(|&id| i64::from(id));
                if self.pads_left {
                    values.extend(filling.chain(row));
                } else {
                    values.extend(row.chain(filling));
                }
            }
            let tensor = as_ints(input, vec![encodings.len(), len], values);
            let tensor = tensor.map_err(|source| DataError::Tensor {
                path: self.path.clone(),
                array: input.name.clone(),
                source,
            })?;
            tensors.push((input.name.clone(), tensor));
        }
        Ok(tensors)
    }
}

fn as_ints(input: &InputSpec, shape: Vec<usize>, values: Vec<i64>) -> Result<Tensor, TensorError> {
    if input.dtype == DType::I32 {
        // Ids are 32 bits unsigned and no vocabulary comes near the sign bit.
        return Tensor::new(shape, values.into_iter().map(|value| value as i32).collect());
    }
    Tensor::new(shape, values)
}

/// What each input of the model holds, by its name.
fn roles(request: &Request<'_>) -> Result<Vec<(InputSpec, Role)>, DataError> {
    let role = |input: &InputSpec| match input.name.rsplit(['/', ':']).next().unwrap_or_default() {
        "input_ids" | "ids" | "tokens" => Some(Role::Ids),
        "attention_mask" | "input_mask" | "mask" => Some(Role::Mask),
        "token_type_ids" | "segment_ids" => Some(Role::Types),
        _ => None,
    };
    let find = |input: &InputSpec| {
        let fits = matches!(input.dtype, DType::I64 | DType::I32) && input.shape.len() == 2;
        let mismatch = |found: &str| DataError::InputMismatch {
            path: request.path.into(),
            input: Box::new(input.clone()),
            found: found.into(),
            fix: Some(
                "a model of text has inputs `input_ids`, `attention_mask` and maybe `token_type_ids`, \
                       i64[N,T]; arrays of any name can be saved as npz"
                    .into(),
            ),
        };
        match role(input) {
            Some(role) if fits => Ok((input.clone(), role)),
            Some(_) => Err(mismatch("tokens, i64 or i32 [N,T]")),
            None => Err(mismatch("text, which gives `input_ids`, `attention_mask` and `token_type_ids`")),
        }
    };
    let mut roles = Vec::new();
    for input in request.inputs {
        roles.push(find(input)?);
    }
    Ok(roles)
}

/// Tokens kept of a text: as set, else the length the model fixes, else 128.
fn max_tokens(
    request: &Request<'_>,
    settings: &TextSettings,
    inputs: &[(InputSpec, Role)],
) -> Result<usize, DataError> {
    let model_len = inputs.iter().find_map(|(input, _)| input.shape[1]);
    match (settings.max_tokens, model_len) {
        (Some(0), _) => Err(request.settings.error("`max_tokens` is 0", None)),
        (Some(asked), Some(fixed)) if asked > fixed => {
            let reason = format!("`max_tokens` is {asked}, the model takes rows of {fixed} tokens");
            Err(request.settings.error(reason, None))
        }
        (asked, fixed) => Ok(asked.or(fixed).unwrap_or(USUAL_MAX_TOKENS)),
    }
}

struct Texts {
    /// One or two texts a sample.
    texts: Vec<Vec<String>>,
    tokens: Tokens,
}

impl Source for Texts {
    fn len(&self) -> usize {
        self.texts.len()
    }

    fn is_paired(&self) -> bool {
        self.tokens.pair == PairMode::Separate && self.texts.first().is_some_and(|texts| texts.len() == 2)
    }

    fn inputs(&self, rows: &[usize], half: Half) -> Result<Vec<(String, Tensor)>, DataError> {
        let together = self.tokens.pair == PairMode::Together;
        let text = |&row: &usize| match &self.texts[row][..] {
            [first, second] if together => EncodeInput::from((first.as_str(), second.as_str())),
            [_, second] if half == Half::Second => EncodeInput::from(second.as_str()),
            texts => EncodeInput::from(texts.first().map_or("", String::as_str)),
        };
        self.tokens.tensors(&rows.iter().map(text).collect::<Vec<_>>())
    }

    fn hash_row(&self, row: usize, hasher: &mut blake3::Hasher) -> Result<(), DataError> {
        for text in &self.texts[row] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Ok(())
    }

    fn hash_shared(&self, hasher: &mut blake3::Hasher) {
        hasher.update(self.tokens.hash.as_bytes());
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({})", self.texts.len())
    }
}
