//! SR-STE: trains dense weights whose N:M pruned copy is what the network computes with.
//!
//! Forward and backward run with M ⊙ w, M from `|w|` of this step; the weights get the gradient as it is, at pruned positions too, and there also
//! λ w, which draws them to zero. The decay is added to the gradient, so the learning rate applies to it.
//!
//! Groups run along the input channels. Layers whose input channels are no whole number of groups stay dense, which leaves out the
//! first convolution of most networks, as hardware wants it; the published code prunes that one in groups that run on over kernel positions, and
//! leaves the classifier dense, which here is what `layers` says.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Pattern, Settings, SettingsError, Sparsity};
use lissom_tensor::{Tensor, Weight};
use lissom_train::{Detour, Named, Perturbation, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::cram::masked;
use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::{Masks, Rule, Targets};
use crate::parts::select::Ties;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "sr_ste",
    summary: "train for N:M zeros: compute with pruned weights, update dense ones, draw pruned ones to zero",
    source: "Zhou et al., ICLR 2021, arXiv:2102.04010",
    example: "sparsity = \"2:4\"\ndecay = 2e-4",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: SrSte = settings.parse()?;
        if group(&technique.sparsity).is_none() {
            return Err(settings.error_at("sparsity", "must be a pattern such as \"2:4\""));
        }
        if !(technique.decay >= 0.0 && technique.decay.is_finite()) {
            return Err(settings.error_at("decay", "must not be negative"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `sr_ste`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SrSte {
    /// A pattern `N:M`.
    sparsity: Sparsity,
    /// λ.
    #[serde(default = "decay")]
    decay: f64,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
}

fn decay() -> f64 {
    2e-4
}

/// M of a pattern N:M.
pub(super) fn group(sparsity: &Sparsity) -> Option<usize> {
    match sparsity.pattern() {
        Pattern::NofM { group, .. } => Some(group),
        Pattern::Unstructured | Pattern::Block { .. } => None,
    }
}

/// Which weights stay of each group, by magnitude.
pub(super) fn masks(targets: &Targets, sparsity: &Sparsity, weights: &[&[f32]]) -> Masks {
    let rule = Rule { pattern: sparsity.pattern(), allocate: Allocate::Uniform, ties: Ties::Exact };
    targets.by_magnitude(&rule, sparsity.fraction(), weights)
}

/// Computes with pruned weights.
#[derive(Debug)]
pub(super) struct SrSteDetour {
    pub(super) sparsity: Sparsity,
    pub(super) decay: f64,
    pub(super) targets: Targets,
    /// Of this step.
    pub(super) masks: Masks,
}

impl Detour for SrSteDetour {
    fn perturbation(&self) -> Option<Perturbation> {
        None
    }

    fn weights(&mut self, _: u64, weights: &mut Named) -> Result<(), TrainError> {
        let values = self.targets.slices(|name| weights.get(name))?;
        self.masks = masks(&self.targets, &self.sparsity, &values);
        masked(&self.targets, &self.masks, weights)
    }

    fn gradients(&mut self, weights: &Named, _: Option<&Named>, gradients: &mut Named) -> Result<(), TrainError> {
        for (target, mask) in self.targets.all.iter().zip(&self.masks) {
            let (Some(weight), Some(gradient)) = (weights.get(&target.name), gradients.get_mut(&target.name)) else {
                continue;
            };
            decayed(gradient.as_mut_slice()?, weight.as_slice()?, mask, self.decay as f32);
        }
        Ok(())
    }
}

/// g + λ (1 − M) ⊙ w.
fn decayed(gradient: &mut [f32], weight: &[f32], mask: &[bool], decay: f32) {
    for ((gradient, weight), &kept) in gradient.iter_mut().zip(weight).zip(mask) {
        *gradient += if kept { 0.0 } else { decay * weight };
    }
}

impl Technique for SrSte {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        let group = group(&self.sparsity).unwrap_or(1);
        self.targets = Targets::of(SPEC.name, model, &self.layers)?;
        let fits = |channels: usize| channels.is_multiple_of(group);
        self.targets.retain("input channels in whole groups", |target| fits(target.layout.c_in))?;
        let (sparsity, decay, targets) = (self.sparsity, self.decay, self.targets.clone());
        options.detour = Some(Box::new(SrSteDetour { sparsity, decay, targets, masks: Masks::new() }));
        Ok(())
    }

    fn network(&self, trainer: &Trainer) -> Result<Model, TrainError> {
        pruned(&self.targets, &self.sparsity, trainer)
    }
}

/// The network with pruned weights.
pub(super) fn pruned(targets: &Targets, sparsity: &Sparsity, trainer: &Trainer) -> Result<Model, TrainError> {
    let mut model = trainer.model();
    let weights = targets.weights(trainer)?;
    let masks = masks(targets, sparsity, &weights);
    for ((target, weights), mask) in targets.all.iter().zip(weights).zip(masks) {
        let Some(value) = model.graph.find_value(&target.name) else { continue };
        let pruned: Vec<f32> = weights.iter().zip(mask).map(|(&w, kept)| if kept { w } else { 0.0 }).collect();
        model.graph.set_constant(value, Weight::Dense(Tensor::new(target.shape.clone(), pruned)?));
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::super::training_tests::quadratic;
    use super::*;

    #[test]
    fn pruned_weights_are_drawn_to_zero() {
        let mut gradient = [0.2, 0.1];
        decayed(&mut gradient, &[0.3, -0.5], &[false, true], 0.1);
        assert!((gradient[0] - 0.23f32).abs() < 1e-7 && gradient[1] == 0.1);
    }

    #[test]
    fn the_gradient_is_that_at_pruned_weights_and_reaches_all() {
        // C(1, 0.2) = (1, 0): the gradient there is (2, 0.3), and λ · 0.2 comes on top of the second.
        let settings = Settings::from_toml("test", "sparsity = \"1:2\"\ndecay = 0.1").unwrap();
        let after = quadratic(&mut *(SPEC.parse)(&settings).unwrap().technique().unwrap(), 1);
        assert!((after[0] - 0.8).abs() < 1e-6 && (after[1] - 0.168).abs() < 1e-6, "{after:?}");
    }
}
