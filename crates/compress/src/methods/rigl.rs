//! RigL: trains sparse from the start; now and then the smallest weights go, and those whose gradient is largest grow.
//!
//! The share that moves falls along a cosine (the published code's flag says constant, the paper cosine), and nothing moves any more after
//! `end`. A move takes the place of the optimizer's step, as published; equal weights are ranked by position rather than by small
//! noise. What counts are the weights of linear layers, the first and the classifier included; the rule says how dense each is.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::Tensor;
use lissom_train::{Due, Moment, Stream, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::Targets;
use crate::parts::rewire;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "rigl",
    summary: "train sparse from the start: small weights go, those with large gradients grow",
    source: "Evci et al., ICML 2020, arXiv:1911.11134",
    example: "sparsity = 0.9\nevery = 100\nshare = 0.3",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: RigL = settings.parse()?;
        check(settings, [technique.sparsity, technique.share, technique.end], technique.every)?;
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Checks the settings that methods which move connections share.
pub(super) fn check(settings: &Settings, [sparsity, share, end]: [f64; 3], every: u64) -> Result<(), SettingsError> {
    if !(0.0..1.0).contains(&sparsity) {
        return Err(settings.error_at("sparsity", "must be at least 0 and less than 1"));
    }
    if !(0.0..=1.0).contains(&share) {
        return Err(settings.error_at("share", "must be between 0 and 1"));
    }
    if !(0.0..=1.0).contains(&end) {
        return Err(settings.error_at("end", "must be between 0 and 1"));
    }
    if every == 0 {
        return Err(settings.error_at("every", "must be at least 1"));
    }
    Ok(())
}

/// How the share that moves changes over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decay {
    #[default]
    Cosine,
    Constant,
}

/// Settings of `rigl`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RigL {
    /// Share of zeros, 0..1.
    sparsity: f64,
    /// Steps from one move to the next.
    #[serde(default = "every")]
    every: u64,
    /// Share of the weights that moves at first.
    #[serde(default = "share")]
    share: f64,
    #[serde(default)]
    decay: Decay,
    /// Share of the training after which nothing moves.
    #[serde(default = "end")]
    end: f64,
    #[serde(default = "erk")]
    allocate: Allocate,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    #[serde(skip)]
    seed: u64,
}

fn every() -> u64 {
    100
}

pub(super) fn share() -> f64 {
    0.3
}

fn end() -> f64 {
    0.75
}

pub(super) fn erk() -> Allocate {
    Allocate::Erk
}

/// Draws numbers that dropout and noise, which count from 1, do not.
pub(super) const STREAM: u64 = 0x7269_676c_0000;

impl Technique for RigL {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::of(SPEC.name, model, &self.layers)?;
        (self.seed, options.step.masks) = (options.seed, true);
        Ok(())
    }

    fn begin(&mut self, trainer: &mut Trainer, _: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        let stream = |layer| Stream::new(self.seed, 0, STREAM + layer);
        rewire::begin(&self.targets, trainer, (self.allocate, self.sparsity), stream)
    }

    fn before_step(
        &mut self,
        trainer: &mut Trainer,
        at: &Moment,
        batch: &[(&str, &Tensor)],
    ) -> Result<Due, TrainError> {
        let done = at.share() / self.end.max(f64::MIN_POSITIVE);
        if at.step == 0 || done > 1.0 || !at.step.is_multiple_of(self.every) {
            return Ok(Due::Train);
        }
        let gradients = trainer.gradient(batch)?;
        let slices = self.targets.slices(|name| gradients.get(name))?;
        let growth: Vec<Vec<f32>> = slices.iter().map(|g| g.iter().map(|g| g.abs()).collect()).collect();
        let growth: Vec<&[f32]> = growth.iter().map(Vec::as_slice).collect();
        rewire::move_all(&self.targets, trainer, &growth, self.moving(done))?;
        Ok(Due::Skip)
    }
}

impl RigL {
    fn moving(&self, done: f64) -> f64 {
        match self.decay {
            Decay::Cosine => self.share / 2.0 * (1.0 + (std::f64::consts::PI * done).cos()),
            Decay::Constant => self.share,
        }
    }
}
