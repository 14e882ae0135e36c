//! Early-bird tickets: the network is pruned as soon as the mask that pruning it would give stops changing.
//!
//! Before each epoch the mask of the largest weights is drawn; once the newest differs from each of the last few in no more than `distance` of
//! the weights, it is put in force for good, and the training goes on. A mask that never settles is put in force at `latest`. The published method looks at whole
//! channels, by the scales of their norms, which an L1 penalty makes sparse; here single weights are looked at, by magnitude: those of linear
//! layers, the first and the classifier included.

use std::collections::VecDeque;

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError, Sparsity};
use lissom_tensor::Tensor;
use lissom_train::{Due, Kept, Moment, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::{Masks, Rule, Targets, distance};
use crate::parts::select::Ties;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "early_bird",
    summary: "prune while training, as soon as it is clear which weights would go",
    source: "You et al., ICLR 2020, arXiv:1909.11957",
    example: "sparsity = 0.5",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: EarlyBird = settings.parse()?;
        Rule::new(&technique.sparsity, technique.allocate, technique.ties).check(settings)?;
        for (key, share) in [("distance", technique.distance), ("latest", technique.latest)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(settings.error_at(key, "must be between 0 and 1"));
            }
        }
        if technique.window < 2 {
            return Err(settings.error_at("window", "must be at least 2"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `early_bird`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EarlyBird {
    sparsity: Sparsity,
    /// Share of the weights in which masks may differ.
    #[serde(default = "near")]
    distance: f64,
    /// How many masks are compared, the newest included.
    #[serde(default = "window")]
    window: usize,
    /// Share of the training after which no mask is waited for.
    #[serde(default = "latest")]
    latest: f64,
    #[serde(default)]
    allocate: Allocate,
    #[serde(default)]
    ties: Ties,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    /// The last masks, the newest at the end.
    #[serde(skip)]
    masks: VecDeque<Masks>,
    #[serde(skip)]
    is_found: bool,
}

fn near() -> f64 {
    0.1
}

fn window() -> usize {
    5
}

fn latest() -> f64 {
    0.5
}

impl Technique for EarlyBird {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::to_mask(SPEC.name, model, &self.layers, options)?;
        Ok(())
    }

    fn before_step(&mut self, trainer: &mut Trainer, at: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        if self.is_found || !at.begins_epoch() {
            return Ok(Due::Train);
        }
        let rule = Rule::new(&self.sparsity, self.allocate, self.ties);
        let newest = self.targets.by_magnitude(&rule, self.sparsity.fraction(), &self.targets.weights(trainer)?);
        let is_settled = self.masks.len() + 1 >= self.window
            && self.masks.iter().all(|older| distance(&newest, older) <= self.distance);
        if is_settled || at.share() >= self.latest || at.epoch + 1 == at.epochs {
            self.targets.set_masks(trainer, &newest)?;
            self.masks.clear();
            self.is_found = true;
            return Ok(Due::Train);
        }
        self.masks.push_back(newest);
        while self.masks.len() >= self.window {
            self.masks.pop_front();
        }
        Ok(Due::Train)
    }

    fn save(&self) -> Kept {
        let mut kept = Kept::default();
        kept.values.insert("is_found".into(), self.is_found.to_string());
        for (age, masks) in self.masks.iter().enumerate() {
            for (target, mask) in masks.iter().enumerate() {
                kept.tensors.insert(format!("{age:03}.{target:05}"), Tensor::vector(mask.clone()));
            }
        }
        kept
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        self.is_found = kept.values.get("is_found").is_some_and(|value| value == "true");
        let masks = kept.tensors.values().map(|mask| Ok(mask.as_slice::<bool>()?.to_vec()));
        let masks = masks.collect::<Result<Vec<_>, TrainError>>()?;
        self.masks = masks.chunks(self.targets.all.len().max(1)).map(<[Vec<bool>]>::to_vec).collect();
        Ok(())
    }
}
