//! SET, sparse evolutionary training: sparse from the start; after each epoch the smallest weights go, and others grow at random.
//!
//! What grows begins at zero (published: small random numbers), and so does what the optimizer keeps of it; of weights of both signs the ones nearest
//! to zero go. What counts are the weights of linear layers, the first and the classifier included; the rule says how dense each is.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::Tensor;
use lissom_train::{Moment, Stream, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::rigl::{STREAM, check, erk, share};
use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::Targets;
use crate::parts::rewire;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "set",
    summary: "train sparse from the start: small weights go, others grow at random",
    source: "Mocanu et al., Nature Communications 2018, arXiv:1707.04780",
    example: "sparsity = 0.9\nshare = 0.3",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: Set = settings.parse()?;
        check(settings, [technique.sparsity, technique.share, technique.end], technique.every.unwrap_or(1))?;
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `set`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    /// Share of zeros, 0..1.
    sparsity: f64,
    /// Steps from one move to the next; an epoch unless said.
    every: Option<u64>,
    /// ζ: share of the weights that moves.
    #[serde(default = "share")]
    share: f64,
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

fn end() -> f64 {
    1.0
}

impl Technique for Set {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::of(SPEC.name, model, &self.layers)?;
        (self.seed, options.step.masks) = (options.seed, true);
        Ok(())
    }

    fn begin(&mut self, trainer: &mut Trainer, _: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        let stream = |layer| Stream::new(self.seed, 0, STREAM + layer);
        rewire::begin(&self.targets, trainer, (self.allocate, self.sparsity), stream)
    }

    fn after_step(&mut self, trainer: &mut Trainer, at: &Moment) -> Result<(), TrainError> {
        let every = self.every.unwrap_or(at.steps_an_epoch).max(1);
        // After the last step nothing could learn any more.
        if at.share() >= self.end || !at.step.is_multiple_of(every) {
            return Ok(());
        }
        let drawn = self.targets.all.iter().enumerate().map(|(layer, target)| {
            let stream = Stream::new(self.seed, at.step, STREAM + layer as u64);
            (0..target.layout.indices.len() as u64).map(|i| stream.uniform(i) as f32).collect()
        });
        let drawn: Vec<Vec<f32>> = drawn.collect();
        let growth: Vec<&[f32]> = drawn.iter().map(Vec::as_slice).collect();
        rewire::move_all(&self.targets, trainer, &growth, self.share)
    }
}
