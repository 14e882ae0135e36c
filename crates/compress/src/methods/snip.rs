//! SNIP: before the first step, the weights whose product with their gradient is smallest become zero, and stay it.
//!
//! |θ ⊙ g| on the first batch (published: ten samples a class), with norms that use its statistics. What counts are the weights of linear
//! layers, the first and the classifier included.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError, Sparsity};
use lissom_tensor::Tensor;
use lissom_train::{Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::{Rule, Targets};
use crate::parts::select::Ties;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "snip",
    summary: "prune before training by weight times gradient, then train what is left",
    source: "Lee et al., ICLR 2019, arXiv:1810.02340",
    example: "sparsity = 0.9",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        Ok(Box::new(Trained { name: SPEC.name, technique: settings.parse::<Snip>()? }))
    },
};

/// Settings of `snip`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snip {
    sparsity: Sparsity,
    #[serde(default)]
    allocate: Allocate,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
}

impl Technique for Snip {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::to_mask(SPEC.name, model, &self.layers, options)?;
        Ok(())
    }

    fn begin(&mut self, trainer: &mut Trainer, batch: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        let gradients = trainer.gradient(batch)?;
        let gradients = self.targets.slices(|name| gradients.get(name))?;
        let weights = self.targets.weights(trainer)?;
        let scores: Vec<Vec<f32>> = weights.iter().zip(gradients).map(|(w, g)| saliency(w, g)).collect();
        prune(&self.targets, trainer, (&self.sparsity, self.allocate), &scores)
    }
}

/// |θ ⊙ g|.
fn saliency(weights: &[f32], gradient: &[f32]) -> Vec<f32> {
    weights.iter().zip(gradient).map(|(w, g)| (w * g).abs()).collect()
}

/// Masks what scores lowest, once for the whole training.
pub(super) fn prune(
    targets: &Targets,
    trainer: &mut Trainer,
    (sparsity, allocate): (&Sparsity, Allocate),
    scores: &[Vec<f32>],
) -> Result<(), TrainError> {
    let rule = Rule { pattern: sparsity.pattern(), allocate, ties: Ties::Exact };
    let scores: Vec<&[f32]> = scores.iter().map(Vec::as_slice).collect();
    let masks = targets.by_score(&rule, sparsity.fraction(), &scores);
    targets.set_masks(trainer, &masks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saliencies_are_the_worked_ones() {
        // y = w x, ½ (y − t)² with w = (1, −2), x = (1, 1), t = 0: g = (−1, −1).
        assert_eq!(saliency(&[1.0, -2.0], &[-1.0, -1.0]), [1.0, 2.0]);
    }
}
