//! What can be wrong with a recipe.

use std::io;
use std::path::PathBuf;

use super::hint_for_name;
use crate::{ExitCode, PRESETS, Place, SettingsError};

/// Why a recipe could not be read. Each variant says where and what; [`RecipeError::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file could not be read.
    #[error("cannot read the recipe `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is too large to be a recipe.
    #[error("`{}` is not a recipe: it has {size_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
    /// The file is not UTF-8.
    #[error("{place}: this is not text (UTF-8)")]
    NotText {
        /// The first byte that is not.
        place: Place,
    },
    /// A key or a value is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A key or a value of a step is wrong.
    #[error("{}step `{method}`: {}", place_of(error), without_place(error))]
    Step {
        /// The step's method.
        method: String,
        /// What is wrong.
        error: Box<SettingsError>,
    },
    /// No such method.
    #[error("{place}: unknown method `{name}`")]
    UnknownMethod {
        /// Where it is named.
        place: Place,
        /// As written.
        name: String,
        /// The methods there are.
        known: Vec<String>,
    },
    /// No such preset.
    #[error("{}unknown preset `{name}`", place.as_ref().map_or(String::new(), |place| format!("{place}: ")))]
    UnknownPreset {
        /// Where it is named, if in a recipe.
        place: Option<Place>,
        /// As written.
        name: String,
        /// The presets there are.
        known: Vec<String>,
    },
    /// `without` or `before` names a method that the recipe has no step of.
    #[error("{place}: `{key}` names `{name}`, but the recipe it extends has no such step")]
    NoSuchStep {
        /// Where it is named.
        place: Place,
        /// `without` or `before`.
        key: &'static str,
        /// As written.
        name: String,
        /// The methods of the steps there are.
        known: Vec<String>,
    },
    /// A recipe that asks for nothing.
    #[error("{place}: the recipe has no steps")]
    NoSteps {
        /// The start of the text.
        place: Place,
    },
}

fn place_of(error: &SettingsError) -> String {
    error.place.as_ref().map_or(String::new(), |place| format!("{place}: "))
}

fn without_place(error: &SettingsError) -> SettingsError {
    SettingsError { place: None, ..error.clone() }
}

impl RecipeError {
    pub(crate) fn unknown_preset(place: Option<Place>, name: &str) -> RecipeError {
        let known = PRESETS.iter().map(|preset| preset.name.to_string()).collect();
        RecipeError::UnknownPreset { place, name: name.to_string(), known }
    }

    /// What to do about it, if more can be said than the message does.
    pub fn hint(&self) -> Option<String> {
        match self {
            RecipeError::Settings(error) => error.hint(),
            RecipeError::Step { error, .. } => error.hint(),
            RecipeError::UnknownMethod { name, known, .. } => {
                Some(hint_for_name(name, known) + "; `lissom methods` describes them")
            }
            RecipeError::UnknownPreset { place, name, known } => {
                let files = match place {
                    Some(_) => "; files cannot be extended",
                    None => "; a file's name ends in `.toml`",
                };
                Some(hint_for_name(name, known) + files)
            }
            RecipeError::NoSuchStep { name, known, .. } => Some(hint_for_name(name, known)),
            RecipeError::NoSteps { .. } => {
                Some("add a `[[step]]` with a `method`, or `extends = \"int8\"`".to_string())
            }
            RecipeError::TooLarge { .. } | RecipeError::NotText { .. } => {
                Some("a recipe is a TOML file; is this the model?".to_string())
            }
            RecipeError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                let known = PRESETS.iter().map(|preset| preset.name.to_string()).collect::<Vec<_>>();
                Some(format!("check the path; the presets are {}", known.join(", ")))
            }
            RecipeError::File { .. } => None,
        }
    }

    /// 74 if the file could not be read for a reason other than its absence, else 65.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            RecipeError::File { source, .. } if source.kind() != io::ErrorKind::NotFound => ExitCode::Io,
            _ => ExitCode::BadInput,
        }
    }
}
