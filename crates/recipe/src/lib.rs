//! Recipes and runs: what a job is asked to do, and the folder that holds everything about it.
//!
//! - [`Recipe`]: TOML text becomes checked [`Step`]s; every error says file, line, column and the nearest known word.
//! - Values by their usual names: [`Sparsity`], [`Scheme`], [`Budget`], [`LayerFilter`].
//! - [`Run`]: a folder that survives `kill -9` at any moment and ends in the same bytes.
//! - [`ExitCode`] and [`Interrupt`]: how a process ends.
//!
//! This crate knows no graph, no operator and no method: the caller hands in its list of methods
//! as a [`MethodCatalog`], and a method reads its own settings with [`Settings::parse`].

mod budget;
mod digest;
mod exit;
pub mod interrupt;
mod layers;
mod place;
mod preset;
mod recipe;
pub mod run;
mod scheme;
mod settings;
mod sparsity;
mod suggest;
mod value;

pub use budget::{Budget, Latency, TargetSize};
pub use digest::Digest;
pub use exit::ExitCode;
pub use interrupt::{Interrupt, Interrupted};
pub use layers::{LayerFilter, LayerPattern, UnmatchedPattern};
pub use place::Place;
pub use preset::{PRESETS, Preset};
pub use recipe::{MethodCatalog, Recipe, RecipeError, RecipeText, Step};
pub use run::{Run, RunError, RunRequest};
pub use scheme::Scheme;
pub use settings::{Named, Settings, SettingsError, SettingsProblem};
pub use sparsity::{Pattern, Sparsity};
pub use suggest::{did_you_mean, nearest};
pub use value::ValueError;
