//! Networks to train from nothing, one file each, as ONNX models with weights drawn from a seed.

mod mlp;
mod mobilenet_v1;
mod net;
mod resnet20;
mod vision_transformer;

use std::fmt;

use lissom_graph::Model;
use lissom_recipe::{Settings, SettingsError};

use crate::TrainError;

/// All architectures, alphabetically.
pub static ARCHITECTURES: &[ArchitectureSpec] =
    &[mlp::SPEC, mobilenet_v1::SPEC, resnet20::SPEC, vision_transformer::SPEC];

/// An architecture as it stands in [`ARCHITECTURES`].
#[derive(Clone, Copy)]
pub struct ArchitectureSpec {
    /// The word in recipes.
    pub name: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Typical settings, as TOML.
    pub example: &'static str,
    /// Reads and checks the settings.
    pub parse: fn(&Settings) -> Result<Box<dyn Architecture>, SettingsError>,
}

impl fmt::Debug for ArchitectureSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchitectureSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An architecture with its settings.
pub trait Architecture: fmt::Debug + Send + Sync {
    /// The network: input `input`, f32 with any number of samples; output `scores`, one number a class before the softmax.
    /// The same seed gives the same bytes.
    ///
    /// # Errors
    /// [`TrainError::Architecture`] if the settings do not go together.
    fn build(&self, seed: u64) -> Result<Model, TrainError>;
}

/// Counts that must not be zero, by key.
fn not_zero(settings: &Settings, counts: &[(&str, usize)]) -> Result<(), SettingsError> {
    /// More than any network of these kinds has.
    const MOST: usize = 1 << 20;
    match counts.iter().find(|(_, count)| !(1..=MOST).contains(count)) {
        Some((key, _)) => Err(settings.error_at(key, format!("must be between 1 and {MOST}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
