//! Fully connected layers with ReLU between them, on samples of any shape.

use lissom_graph::Model;
use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::net::{Draw, Net};
use super::{Architecture, ArchitectureSpec, not_zero};
use crate::TrainError;

pub(super) const SPEC: ArchitectureSpec = ArchitectureSpec {
    name: "mlp",
    summary: "fully connected layers with ReLU",
    source: "folklore",
    example: "shape = [1, 28, 28]\nhidden = [256, 128]\nclasses = 10",
    parse: |settings: &Settings| -> Result<Box<dyn Architecture>, SettingsError> {
        let architecture: Mlp = settings.parse()?;
        let lengths: Vec<(&str, usize)> = architecture.shape.iter().map(|&length| ("shape", length)).collect();
        let hidden: Vec<(&str, usize)> = architecture.hidden.iter().map(|&length| ("hidden", length)).collect();
        not_zero(settings, &[&lengths[..], &hidden[..], &[("classes", architecture.classes)]].concat())?;
        if architecture.shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n)).is_none_or(|len| len > 1 << 30) {
            return Err(settings.error_at("shape", "is too large"));
        }
        Ok(Box::new(architecture))
    },
};

/// Settings of `mlp`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mlp {
    /// Of one sample.
    shape: Vec<usize>,
    /// Lengths of the hidden layers.
    hidden: Vec<usize>,
    classes: usize,
}

impl Architecture for Mlp {
    fn build(&self, seed: u64) -> Result<Model, TrainError> {
        let (mut net, mut x) = Net::new(SPEC.name, &self.shape, seed);
        if self.shape.len() != 1 {
            x = net.node("Flatten", "flatten", &[x], &[])?;
        }
        let mut n_in = self.shape.iter().product();
        for (index, &n_out) in self.hidden.iter().enumerate() {
            x = net.linear(&format!("linear{}", index + 1), x, [n_out, n_in], Draw::He)?;
            x = net.relu(&format!("relu{}", index + 1), x)?;
            n_in = n_out;
        }
        let scores = net.linear("classifier", x, [self.classes, n_in], Draw::Glorot)?;
        net.finish(scores)
    }
}
