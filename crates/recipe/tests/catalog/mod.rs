//! A catalog with the method names the presets use, for tests of the recipe reader alone.
#![allow(dead_code)] // Each test file uses its part.

use lissom_recipe::{LayerFilter, MethodCatalog, Pattern, Scheme, Settings, SettingsError, Sparsity};
use serde::Deserialize;

pub struct Catalog;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Magnitude {
    pub sparsity: Sparsity,
    #[serde(default)]
    pub allocate: Allocate,
    pub pattern: Option<Pattern>,
    #[serde(default)]
    pub layers: LayerFilter,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Allocate {
    #[default]
    Global,
    Uniform,
    UniformPlus,
    Erk,
    Lamp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantize {
    pub scheme: Scheme,
    pub weights: Option<Weights>,
    pub activations: Option<Activations>,
    #[serde(default)]
    pub dynamic: bool,
    pub operators: Option<Vec<String>>,
    #[serde(default)]
    pub layers: LayerFilter,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    pub granularity: Granularity,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    Tensor,
    Channel,
    Group,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activations {
    pub calibrate: Option<Calibrate>,
    pub percentile: Option<f64>,
    pub symmetric: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibrate {
    Minmax,
    Percentile,
    Mse,
    Entropy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reestimate {
    pub samples: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayersOnly {
    #[serde(default)]
    pub layers: LayerFilter,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTune {
    #[serde(default)]
    pub layers: LayerFilter,
    #[serde(default)]
    pub train: serde_json::Value,
}

impl MethodCatalog for Catalog {
    fn is_training(&self, method: &str, _settings: &Settings) -> bool {
        method == "fine_tune"
    }

    fn names(&self) -> Vec<&str> {
        vec![
            "fold_batch_norm",
            "magnitude",
            "cross_layer_equalization",
            "quantize",
            "bias_correction",
            "reestimate_batch_norm",
            "fine_tune",
        ]
    }

    fn check(&self, method: &str, settings: &Settings) -> Result<(), SettingsError> {
        match method {
            "magnitude" => {
                let read: Magnitude = settings.parse()?;
                if let Some(pattern) = read.pattern {
                    let combined = read.sparsity.with_pattern(pattern);
                    combined.map_err(|error| settings.error_at("pattern", error.to_string()))?;
                }
            }
            "quantize" => {
                let read: Quantize = settings.parse()?;
                let percentile = read.activations.and_then(|activations| activations.percentile);
                if percentile.is_some_and(|share| !(50.0..=100.0).contains(&share)) {
                    let reason = "a percentile goes from 50 to 100";
                    return Err(settings.error_at("activations.percentile", reason));
                }
            }
            "reestimate_batch_norm" => {
                settings.parse::<Reestimate>()?;
            }
            "fine_tune" => {
                settings.parse::<FineTune>()?;
            }
            _ => {
                settings.parse::<LayersOnly>()?;
            }
        }
        Ok(())
    }
}
