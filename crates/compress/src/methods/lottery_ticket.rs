//! Lottery tickets: iterative magnitude pruning with rewinding, in one training.
//!
//! The training is cut into rounds. After each but the last the share `share` of the surviving weights with the smallest magnitude goes, the others,
//! the norms and the biases go back to what they were at step `rewind` of the first round (0: the original ticket), and so do the learning rate and the
//! optimizer. After n prunings (1 − share)ⁿ of the weights are left, rounded to whole weights of all layers together. What counts are the weights of linear
//! layers, the first and the classifier included.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Pattern, Settings, SettingsError};
use lissom_tensor::Tensor;
use lissom_train::{Due, Kept, Moment, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::{Rule, Targets};
use crate::parts::restart::Rewinding;
use crate::parts::select::Ties;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "lottery_ticket",
    summary: "train, prune the smallest weights, rewind the others to where they began, again and again",
    source: "Frankle & Carbin, ICLR 2019, arXiv:1803.03635; rewinding: Frankle et al. 2020, arXiv:1912.05671",
    example: "share = 0.2\nprunings = 5\nrewind = 500",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: LotteryTicket = settings.parse()?;
        if !(technique.share > 0.0 && technique.share < 1.0) {
            return Err(settings.error_at("share", "must be more than 0 and less than 1"));
        }
        if technique.prunings == 0 {
            return Err(settings.error_at("prunings", "must be at least 1"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `lottery_ticket`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct LotteryTicket {
    /// Share of the surviving weights that goes each time.
    #[serde(default = "share")]
    share: f64,
    /// How often; there is one round more.
    prunings: u32,
    /// The step that survivors go back to.
    #[serde(default)]
    rewind: u64,
    #[serde(default)]
    allocate: Allocate,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    #[serde(skip)]
    rewinding: Rewinding,
}

fn share() -> f64 {
    0.2
}

impl Technique for LotteryTicket {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::to_mask(SPEC.name, model, &self.layers, options)?;
        self.rewinding = Rewinding::new(SPEC.name, options, self.prunings, self.rewind)?;
        Ok(())
    }

    fn before_step(&mut self, trainer: &mut Trainer, at: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        if let Some(round) = self.rewinding.begins(trainer, at) {
            let rule = Rule { pattern: Pattern::Unstructured, allocate: self.allocate, ties: Ties::Exact };
            let sparsity = 1.0 - (1.0 - self.share).powf(round as f64);
            let masks = self.targets.by_magnitude(&rule, sparsity, &self.targets.weights(trainer)?);
            self.rewinding.rewind(&self.targets, trainer, &masks)?;
        }
        Ok(Due::Train)
    }

    fn save(&self) -> Kept {
        self.rewinding.save()
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        self.rewinding.load(kept);
        Ok(())
    }
}
