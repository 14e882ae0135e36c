//! Recipes: what to do to a model, step by step.
//!
//! ```toml
//! name = "mine"                       # optional, as is `description`
//! extends = ["prune50", "int8"]       # presets, joined in this order
//! without = ["bias_correction"]       # inherited steps to leave out
//!
//! [budget]
//! target_size = "25%"
//! max_drop = 0.5                      # points
//!
//! [model]                             # to train from nothing, instead of a model file
//! architecture = "resnet20"
//!
//! [train]                             # how steps that train do
//! epochs = 30
//!
//! [[step]]
//! method = "quantize"                 # inherited: only the keys named here change
//! layers = { exclude = ["head", "re:.*embed.*"] }
//!
//! [[step]]
//! method = "fold_batch_norm"          # not inherited: added at the end, or before a step
//! before = "magnitude"
//!
//! [[step]]
//! method = "fine_tune"                # trains as `[train]` says
//! ```
//!
//! The n-th step of a method changes the n-th inherited step of that method, key by key, tables
//! inside likewise; a step with `before` is always a new one. `[step.train]` changes keys of `[train]` for that step. A recipe
//! with `[train]` and without steps trains plainly.

mod error;
mod parse;

use std::path::Path;

pub use error::RecipeError;

use crate::{Budget, Digest, LayerFilter, PRESETS, Place, Settings, SettingsError, did_you_mean};

/// The methods a recipe may name. The crate of the methods implements it over its list.
pub trait MethodCatalog {
    /// Every method's name.
    fn names(&self) -> Vec<&str>;

    /// Checks the settings of `method`, which is one of [`MethodCatalog::names`].
    ///
    /// # Errors
    /// Whatever [`Settings::parse`] or [`Settings::error_at`] say.
    fn check(&self, method: &str, settings: &Settings) -> Result<(), SettingsError>;

    /// Whether `method` with these settings, which [`check`](Self::check) found good, trains: its step then has `[train]`.
    fn is_training(&self, _method: &str, _settings: &Settings) -> bool {
        false
    }

    /// Checks a `[train]` table.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn check_train(&self, _train: &Settings) -> Result<(), SettingsError> {
        Ok(())
    }

    /// Checks a `[model]` table.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn check_model(&self, _model: &Settings) -> Result<(), SettingsError> {
        Ok(())
    }

    /// The method that trains and does nothing else, if there is one.
    fn plain_training(&self) -> Option<&str> {
        None
    }
}

/// A recipe as written: the name for messages, and the TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeText {
    /// The file name, `preset NAME`, or what else the user would know it by.
    pub name: String,
    /// TOML.
    pub text: String,
}

/// A checked recipe: presets resolved, every method known, every setting read once.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// `name` of the text, or else the preset's name or the file's stem.
    pub name: String,
    /// One line on what it does, if the text says.
    pub description: Option<String>,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What the result may cost.
    pub budget: Budget,
    /// `[model]`: what is trained from nothing.
    pub model: Option<Settings>,
}

/// One `[[step]]`.
#[derive(Debug, Clone)]
pub struct Step {
    /// A name of the [`MethodCatalog`].
    pub method: String,
    /// Every other key of the step, `layers` included.
    pub settings: Settings,
    /// The `layers` key; every layer if it is absent.
    pub layers: LayerFilter,
    /// For a step that trains: `[train]`, changed by its own `[step.train]`.
    pub train: Option<Settings>,
}

impl Step {
    /// Where the step was written.
    pub fn place(&self) -> Option<&Place> {
        self.settings.place()
    }
}

impl RecipeText {
    /// A recipe's text under a name for messages.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> RecipeText {
        RecipeText { name: name.into(), text: text.into() }
    }

    /// The text of a preset, or of a file.
    ///
    /// A word without `/` or `.toml` is a preset's name, unless a file of that name exists.
    ///
    /// # Errors
    /// [`RecipeError::UnknownPreset`] with the nearest name; [`RecipeError::File`] if reading fails.
    pub fn load(name_or_path: &str) -> Result<RecipeText, RecipeError> {
        if let Some(preset) = PRESETS.iter().find(|preset| preset.name == name_or_path) {
            return Ok(preset.recipe_text());
        }
        let path = Path::new(name_or_path);
        let is_file_name = name_or_path.contains(['/', '\\']) || path.extension().is_some();
        if !is_file_name && !path.exists() {
            return Err(RecipeError::unknown_preset(None, name_or_path));
        }
        let read_error = |source| RecipeError::File { path: path.to_path_buf(), source };
        let size_bytes = std::fs::metadata(path).map_err(read_error)?.len();
        if size_bytes > MAX_RECIPE_BYTES {
            return Err(RecipeError::TooLarge { path: path.to_path_buf(), size_bytes });
        }
        let bytes = std::fs::read(path).map_err(read_error)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            let place = Place::of_offset(&name_or_path.into(), &valid, valid.len());
            RecipeError::NotText { place }
        })?;
        Ok(RecipeText::new(name_or_path, text))
    }
}

/// The table that says how steps train, at the top and in a step.
const TRAIN: &str = "train";

/// Recipes are written by people; anything larger is another kind of file.
const MAX_RECIPE_BYTES: u64 = 1 << 20;

impl Recipe {
    /// Reads and checks a preset or a file; see [`RecipeText::load`] for which.
    ///
    /// # Errors
    /// Those of [`RecipeText::load`] and [`Recipe::parse`].
    pub fn load(name_or_path: &str, methods: &dyn MethodCatalog) -> Result<Recipe, RecipeError> {
        Recipe::parse(&RecipeText::load(name_or_path)?, methods)
    }

    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and column.
    pub fn parse(text: &RecipeText, methods: &dyn MethodCatalog) -> Result<Recipe, RecipeError> {
        parse::parse(text, methods)
    }

    /// The recipe with nothing left to resolve, keys sorted: what [`Recipe::digest`] hashes.
    ///
    /// Name and description are left out, for they change nothing that is computed.
    pub fn to_json(&self) -> serde_json::Value {
        let steps: Vec<_> = self.steps.iter().map(Step::to_json).collect();
        let mut json = serde_json::json!({ "budget": self.budget, "step": steps });
        if let Some(model) = &self.model {
            json["model"] = model.to_json();
        }
        json
    }

    /// The hash of the canonical form. Spacing, comments, the order of keys and whether a step
    /// came from a preset make no difference.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().to_string().as_bytes())
    }
}

impl Step {
    /// The step with keys sorted, `method` first.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::Map::new();
        json.insert("method".into(), self.method.as_str().into());
        if let serde_json::Value::Object(settings) = self.settings.to_json() {
            json.extend(settings);
        }
        json.extend(self.train.as_ref().map(|train| (TRAIN.into(), train.to_json())));
        serde_json::Value::Object(json)
    }
}

/// The hint for a word that should have been one of `known`.
fn hint_for_name(word: &str, known: &[String]) -> String {
    let list = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match did_you_mean(word, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? there are {list}"),
        None => format!("there are {list}"),
    }
}
