//! BDWP, bidirectional weight pruning: N:M zeros in the forward pass and in the backward pass of a training.
//!
//! The forward pass runs with M_F ⊙ w, whose groups lie along the input channels; the gradient of a layer's input is taken with M_B ⊙ w, whose groups
//! lie along the output channels: each is the axis that its product sums over. Both masks are drawn from `|w|` of this step, apart from each other. The
//! weights get their gradient as it is, at pruned positions too; `decay` draws those that the forward pass prunes to zero, as SR-STE does (the
//! published description names none: 0 unless said).
//!
//! Layers whose input or output channels are no whole number of groups stay dense, and so do convolutions of several groups of channels: the first
//! convolution of most networks, depthwise ones, and classifiers of, say, 10 classes. The published work has its gain on hardware of its own; here the backward pass
//! takes as long as before unless its zeros are many.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError, Sparsity};
use lissom_train::{Detour, Named, Perturbation, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::cram::masked;
use super::sr_ste::{SrSteDetour, group, masks, pruned};
use super::trained::Trained;
use crate::parts::masks::{Masks, Targets};
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "bdwp",
    summary: "train for N:M zeros, with N:M zeros of its own in the backward pass too",
    source: "Fang et al., IEEE TCAD 2023, arXiv:2309.13015",
    example: "sparsity = \"2:8\"",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: Bdwp = settings.parse()?;
        if group(&technique.sparsity).is_none() {
            return Err(settings.error_at("sparsity", "must be a pattern such as \"2:8\""));
        }
        if !(technique.decay >= 0.0 && technique.decay.is_finite()) {
            return Err(settings.error_at("decay", "must not be negative"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `bdwp`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bdwp {
    /// A pattern `N:M`.
    sparsity: Sparsity,
    /// λ of SR-STE.
    #[serde(default)]
    decay: f64,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
}

#[derive(Debug)]
struct BdwpDetour {
    forward: SrSteDetour,
    /// The same weights, seen from behind.
    across: Targets,
}

impl Detour for BdwpDetour {
    fn perturbation(&self) -> Option<Perturbation> {
        None
    }

    fn backward(&mut self, weights: &Named, backward: &mut Named) -> Result<(), TrainError> {
        let masks = masks(&self.across, &self.forward.sparsity, &self.across.slices(|name| weights.get(name))?);
        for target in &self.across.all {
            if let (Some(own), Some(seen)) = (weights.get(&target.name), backward.get_mut(&target.name)) {
                seen.as_mut_slice::<f32>()?.copy_from_slice(own.as_slice()?);
            }
        }
        masked(&self.across, &masks, backward)
    }

    fn weights(&mut self, step: u64, weights: &mut Named) -> Result<(), TrainError> {
        self.forward.weights(step, weights)
    }

    fn gradients(&mut self, weights: &Named, first: Option<&Named>, gradients: &mut Named) -> Result<(), TrainError> {
        self.forward.gradients(weights, first, gradients)
    }
}

impl Technique for Bdwp {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        let group = group(&self.sparsity).unwrap_or(1);
        self.targets = Targets::of(SPEC.name, model, &self.layers)?;
        self.targets.retain("input and output channels in whole groups", |target| {
            let layout = &target.layout;
            target.axes.groups == 1 && [layout.c_in, layout.n_rows].iter().all(|length| length.is_multiple_of(group))
        })?;
        options.step.backward = self.targets.all.iter().map(|target| target.name.clone()).collect();
        let (sparsity, decay, targets) = (self.sparsity, self.decay, self.targets.clone());
        let forward = SrSteDetour { sparsity, decay, targets, masks: Masks::new() };
        options.detour = Some(Box::new(BdwpDetour { forward, across: self.targets.transposed()? }));
        Ok(())
    }

    fn network(&self, trainer: &Trainer) -> Result<Model, TrainError> {
        pruned(&self.targets, &self.sparsity, trainer)
    }
}

#[cfg(test)]
mod tests {
    use lissom_tensor::Tensor;

    use super::super::training_tests::products_trainer;
    use super::*;

    /// Two products after one step of the plain rate 0.1 from A = [[1, 0.5], [0.2, 2]] and B = [[3, 3.5], [1, 4]] at x = (1, 1), on half the squares.
    fn stepped(text: &str) -> [Vec<f32>; 2] {
        let settings = Settings::from_toml("test", &format!("sparsity = \"1:2\"\n{text}")).unwrap();
        let mut technique = (SPEC.parse)(&settings).unwrap().technique().unwrap();
        let products = [[1.0, 0.5, 0.2, 2.0], [3.0, 3.5, 1.0, 4.0]];
        let mut trainer = products_trainer(&mut *technique, products);
        trainer.step(&[("x", &Tensor::new([1, 2], vec![1f32, 1.0]).unwrap())]).unwrap();
        ["a", "b"].map(|name| trainer.tensor(name).unwrap().to_f32_vec().unwrap())
    }

    fn close(actual: &[f32], expected: &[f32]) {
        assert!(actual.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{actual:?} {expected:?}");
    }

    #[test]
    fn one_step_is_the_worked_one() {
        // Forward (along columns): A = [[1, 0], [0, 2]], B = [[3, 0], [0, 4]]: h = (1, 2), y = (3, 8), which is its own gradient.
        // Backward (along rows): B = [[0, 3.5], [0, 4]]: the gradient of h is (28, 32), not the (9, 32) of the forward B.
        let [a, b] = stepped("");
        close(&a, &[1.0 - 2.8, 0.5 - 3.2, 0.2 - 2.8, 2.0 - 3.2]);
        close(&b, &[3.0 - 0.3, 3.5 - 0.8, 1.0 - 0.6, 4.0 - 1.6]);
    }

    #[test]
    fn decay_draws_what_the_forward_pass_prunes() {
        let ([a, b], [decayed_a, decayed_b]) = (stepped(""), stepped("decay = 0.1"));
        close(&decayed_a, &[a[0], a[1] - 0.1 * 0.1 * 0.5, a[2] - 0.1 * 0.1 * 0.2, a[3]]);
        close(&decayed_b, &[b[0], b[1] - 0.1 * 0.1 * 3.5, b[2] - 0.1 * 0.1 * 1.0, b[3]]);
    }
}
