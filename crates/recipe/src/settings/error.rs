//! What can be wrong with settings.

use std::fmt;

use crate::{Place, did_you_mean};

/// A key or a value of a recipe that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// Where it stands, if it came from a text.
    pub place: Option<Place>,
    /// The key, with the tables around it: `weights.bits`, `layers.include[2]`.
    pub key: String,
    /// What is wrong.
    pub problem: SettingsProblem,
}

/// What is wrong with a key or value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsProblem {
    /// The text is not TOML.
    Syntax {
        /// The parser's words.
        reason: String,
    },
    /// No such key.
    UnknownKey {
        /// The keys that exist here.
        known: Vec<String>,
    },
    /// A key that must be there is not.
    MissingKey,
    /// A word that is none of the known ones.
    UnknownWord {
        /// What was written.
        written: String,
        /// The words that exist here.
        known: Vec<String>,
    },
    /// A value of another type than expected.
    WrongType {
        /// What was written.
        written: String,
        /// What was expected.
        expected: String,
    },
    /// A value of the right type that makes no sense.
    WrongValue {
        /// Why, and what would be right.
        reason: String,
    },
}

impl SettingsError {
    /// The same error of a table that is the value of `key`.
    #[must_use]
    pub fn under(mut self, key: &str) -> Self {
        let joint = if self.key.is_empty() || self.key.starts_with('[') { "" } else { "." };
        self.key = format!("{key}{joint}{}", self.key);
        self
    }

    /// What to do about it, if more can be said than the message does.
    pub fn hint(&self) -> Option<String> {
        let last = self.key.rsplit('.').next().unwrap_or_default();
        match &self.problem {
            SettingsProblem::UnknownKey { known } => Some(hint_for(last, known, "keys")),
            SettingsProblem::UnknownWord { written, known } => Some(hint_for(written, known, "words")),
            _ => None,
        }
    }
}

/// "did you mean `x`?" and the list of what exists.
pub(crate) fn hint_for(word: &str, known: &[String], kind: &str) -> String {
    let list = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match did_you_mean(word, known.iter().map(String::as_str)) {
        Some(near) if known.len() > 1 => format!("did you mean `{near}`? known {kind} are {list}"),
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("there are no {kind} here; remove it"),
        None => format!("known {kind} are {list}"),
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        let key = &self.key;
        match &self.problem {
            SettingsProblem::Syntax { reason } => write!(f, "this is not TOML: {reason}"),
            SettingsProblem::UnknownKey { .. } => write!(f, "unknown key `{key}`"),
            SettingsProblem::MissingKey => write!(f, "the key `{key}` is missing"),
            SettingsProblem::UnknownWord { written, .. } => write!(f, "`{key}`: unknown word `{written}`"),
            SettingsProblem::WrongType { written, expected } if key.is_empty() => {
                write!(f, "expected {expected}, found {written}")
            }
            SettingsProblem::WrongType { written, expected } => {
                write!(f, "`{key}`: expected {expected}, found {written}")
            }
            SettingsProblem::WrongValue { reason } if key.is_empty() => f.write_str(reason),
            SettingsProblem::WrongValue { reason } => write!(f, "`{key}`: {reason}"),
        }
    }
}

impl std::error::Error for SettingsError {}
