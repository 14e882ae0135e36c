//! The settings of one step: a table that knows where in the text each of its values stands.

mod error;
mod named;
mod node;
mod read;

use serde::de::DeserializeOwned;

pub use error::{SettingsError, SettingsProblem};
pub use named::Named;
pub(crate) use node::{Entry, Node, Value};

use crate::Place;

/// The keys of one step beside `method`, as written, with their places.
///
/// A method reads them with [`Settings::parse`] into its own struct
/// (`#[derive(Deserialize)] #[serde(deny_unknown_fields)]`); whatever serde finds wrong comes back
/// as a [`SettingsError`] with the file, line and column and the nearest known word.
#[derive(Debug, Clone)]
pub struct Settings {
    node: Node,
}

impl Settings {
    pub(crate) fn new(node: Node) -> Settings {
        Settings { node }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    /// No settings at all.
    pub fn empty() -> Settings {
        Settings { node: Node { value: Value::Table(Vec::new()), place: None } }
    }

    /// Settings from TOML text such as `sparsity = 0.5`; `name` is the file name in error messages.
    ///
    /// # Errors
    /// If the text is not TOML.
    pub fn from_toml(name: &str, text: &str) -> Result<Settings, SettingsError> {
        Ok(Settings { node: Node::parse(name, text)? })
    }

    /// The settings as the method's own type.
    ///
    /// # Errors
    /// Unknown or missing keys, unknown words and wrong values, each with its place.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        read::read(&self.node)
    }

    /// An error about the value of `key` (`weights.bits` reaches inside), for checks that serde cannot make.
    pub fn error_at(&self, key: &str, reason: impl Into<String>) -> SettingsError {
        let mut node = &self.node;
        for part in key.split('.') {
            match node.get(part) {
                Some(entry) => node = &entry.node,
                None => break,
            }
        }
        let problem = SettingsProblem::WrongValue { reason: reason.into() };
        SettingsError { place: node.place.clone(), key: key.to_string(), problem }
    }

    /// Whether `key` was written at the top level.
    pub fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }

    /// Where the step begins.
    pub fn place(&self) -> Option<&Place> {
        self.node.place.as_ref()
    }

    /// The settings as JSON with sorted keys, the form that is hashed and reported.
    pub fn to_json(&self) -> serde_json::Value {
        self.node.to_json()
    }
}
