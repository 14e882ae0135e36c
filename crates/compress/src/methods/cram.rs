//! CrAM, the compression-aware minimizer: trains a dense network whose weights can be pruned in one shot afterwards.
//!
//! g₂ = ∇f(C(θ + ρ ∇f(θ))), the gradient at weights that were moved uphill and then compressed; the optimizer is given g₂, or g₂ + ∇f(θ), not
//! halved (CrAM+, the default). C is drawn anew each step from the list: shares of the smallest weights, or patterns such as 2:4. Where C
//! made zeros, g₂ is zero too (`sparse_gradient`). Running statistics are those of the first pass.
//!
//! What C prunes are the weights of linear layers, the first and the classifier included (the published uniform variant leaves these two out; use
//! `layers`); biases, norms and embeddings never. As in the published code the first gradient is taken as it is, without SAM's
//! division by its norm; unlike there exactly the number of weights asked for stays (`ties = "strict"` keeps one less), and runs of input
//! channels that do not fill a group of a pattern are a group of their own rather than going on at the next kernel position.
//!
//! The trained network is dense: prune it in a later step, and re-estimate the statistics of its norms.

use std::sync::{Arc, Mutex, PoisonError};

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError, Sparsity};
use lissom_tensor::Tensor;
use lissom_train::{Detour, Kept, Length, Named, Perturbation, Stream, Technique, TrainError, TrainerOptions};
use rayon::prelude::*;
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::{Masks, Rule, Targets};
use crate::parts::select::Ties;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "cram",
    summary: "train so that pruning afterwards costs little: gradients are taken at compressed weights too",
    source: "Peste et al., ICLR 2023, arXiv:2207.14200",
    example: "sparsities = [0.5, 0.7, 0.9]\nradius = 0.05",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let cram: Cram = settings.parse()?;
        if cram.sparsities.is_empty() {
            return Err(settings.error_at("sparsities", "names no compression"));
        }
        for one in &cram.sparsities {
            Rule { pattern: one.pattern(), allocate: cram.allocate, ties: cram.ties }.check(settings)?;
        }
        if !(cram.radius >= 0.0 && cram.radius.is_finite()) {
            return Err(settings.error_at("radius", "must not be negative"));
        }
        if cram.mask_every == 0 {
            return Err(settings.error_at("mask_every", "must be at least 1"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique: CramTechnique { settings: cram, shared: Arc::default() } }))
    },
};

/// Settings of `cram`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cram {
    /// The compressions that are drawn from.
    sparsities: Vec<Sparsity>,
    /// ρ.
    #[serde(default = "radius")]
    radius: f64,
    /// Whether ρ is divided by the norm of the gradient, as SAM does.
    #[serde(default)]
    normalized: bool,
    /// Whether the gradient at the weights themselves is added.
    #[serde(default = "yes")]
    plus: bool,
    /// Whether the gradient at the compressed weights is zero where they are.
    #[serde(default = "yes")]
    sparse_gradient: bool,
    /// How often a compression is used with one mask.
    #[serde(default = "one")]
    mask_every: u64,
    #[serde(default)]
    allocate: Allocate,
    #[serde(default)]
    ties: Ties,
    #[serde(default)]
    layers: LayerFilter,
}

fn radius() -> f64 {
    0.05
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

#[derive(Debug)]
struct CramTechnique {
    settings: Cram,
    shared: Arc<Mutex<Shared>>,
}

impl Clone for CramTechnique {
    /// With the settings alone: two trainings share nothing.
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), shared: Arc::default() }
    }
}

/// What the detour keeps and the technique saves.
#[derive(Debug, Default)]
struct Shared {
    /// The mask of each compression, and how often it was used.
    masks: Vec<(Masks, u64)>,
    /// The compression of this step.
    now: usize,
}

/// Draws numbers that dropout and noise, which count from 1, do not.
const STREAM: u64 = 0x6372_616d;

#[derive(Debug)]
struct CramDetour {
    settings: Cram,
    targets: Targets,
    seed: u64,
    shared: Arc<Mutex<Shared>>,
}

impl Detour for CramDetour {
    fn perturbation(&self) -> Option<Perturbation> {
        let length = if self.settings.normalized { Length::Normalized } else { Length::Raw };
        Some(Perturbation { radius: self.settings.radius, length })
    }

    fn weights(&mut self, step: u64, weights: &mut Named) -> Result<(), TrainError> {
        let settings = &self.settings;
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let n = settings.sparsities.len();
        shared.masks.resize(n, (Masks::new(), 0));
        shared.now = ((Stream::new(self.seed, step, STREAM).uniform(0) * n as f64) as usize).min(n - 1);
        let (now, sparsity) = (shared.now, settings.sparsities[shared.now]);
        let (masks, used) = &mut shared.masks[now];
        if used.is_multiple_of(settings.mask_every) {
            let rule = Rule { pattern: sparsity.pattern(), allocate: settings.allocate, ties: settings.ties };
            let values = self.targets.slices(|name| weights.get(name))?;
            *masks = self.targets.by_magnitude(&rule, sparsity.fraction(), &values);
        }
        *used += 1;
        masked(&self.targets, masks, weights)
    }

    fn gradients(&mut self, _: &Named, first: Option<&Named>, gradients: &mut Named) -> Result<(), TrainError> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some((masks, _))) = (self.settings.sparse_gradient, shared.masks.get(shared.now)) {
            masked(&self.targets, masks, gradients)?;
        }
        if let (true, Some(first)) = (self.settings.plus, first) {
            for (name, gradient) in gradients.iter_mut() {
                let Some(first) = first.get(name) else { continue };
                let (sum, first) = (gradient.as_mut_slice::<f32>()?, first.as_slice::<f32>()?);
                sum.par_chunks_mut(CHUNK).zip(first.par_chunks(CHUNK)).for_each(|(sum, first)| {
                    sum.iter_mut().zip(first).for_each(|(sum, first)| *sum += first);
                });
            }
        }
        Ok(())
    }
}

/// Elements in one task.
const CHUNK: usize = 1 << 16;

/// Brings the targets' tensors to zero where the masks are.
pub(super) fn masked(targets: &Targets, masks: &Masks, tensors: &mut Named) -> Result<(), TrainError> {
    for (target, mask) in targets.all.iter().zip(masks) {
        let Some(tensor) = tensors.get_mut(&target.name) else { continue };
        tensor.as_mut_slice::<f32>()?.par_chunks_mut(CHUNK).zip(mask.par_chunks(CHUNK)).for_each(|(values, mask)| {
            values.iter_mut().zip(mask).for_each(|(value, &kept)| *value = if kept { *value } else { 0.0 });
        });
    }
    Ok(())
}

impl Technique for CramTechnique {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        options.detour = Some(Box::new(CramDetour {
            settings: self.settings.clone(),
            targets: Targets::of(SPEC.name, model, &self.settings.layers)?,
            seed: options.seed,
            shared: Arc::clone(&self.shared),
        }));
        Ok(())
    }

    fn save(&self) -> Kept {
        let mut kept = Kept::default();
        if self.settings.mask_every == 1 {
            return kept;
        }
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for (level, (masks, used)) in shared.masks.iter().enumerate() {
            kept.values.insert(format!("{level}.used"), used.to_string());
            for (target, mask) in masks.iter().enumerate() {
                kept.tensors.insert(format!("{level}.{target:04}"), Tensor::vector(mask.clone()));
            }
        }
        kept
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for level in 0..self.settings.sparsities.len() {
            let used = kept.values.get(&format!("{level}.used")).and_then(|used| used.parse().ok()).unwrap_or(0);
            let prefix = format!("{level}.");
            let own = kept.tensors.iter().filter(|(name, _)| name.starts_with(&prefix));
            let masks =
                own.map(|(_, mask)| Ok(mask.as_slice::<bool>()?.to_vec())).collect::<Result<_, TrainError>>()?;
            shared.masks.push((masks, used));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::training_tests::quadratic;
    use super::*;

    /// θ after one step of the plain rate 0.1 on ½ θᵀ A θ.
    fn stepped(text: &str) -> Vec<f32> {
        let settings = Settings::from_toml("test", &format!("sparsities = [0.5]\nradius = 0.1\n{text}")).unwrap();
        quadratic(&mut *(SPEC.parse)(&settings).unwrap().technique().unwrap(), 1)
    }

    fn close(actual: &[f32], expected: &[f32]) {
        assert!(actual.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{actual:?} {expected:?}");
    }

    #[test]
    fn one_step_of_every_variant_is_the_worked_one() {
        close(&stepped("plus = false\nsparse_gradient = false"), &[0.7588, 0.16382]);
        close(&stepped("sparse_gradient = false"), &[0.5528, 0.11382]);
        close(&stepped(""), &[0.5528, 0.15]);
        // Only the gradient's own coordinate moves without the plain one.
        close(&stepped("plus = false"), &[0.7588, 0.2]);
        // C = identity and ρ over the norm: SAM.
        let sam = "plus = false\nnormalized = true";
        let settings = Settings::from_toml("test", &format!("sparsities = [0.0]\nradius = 0.1\n{sam}")).unwrap();
        let sam = quadratic(&mut *(SPEC.parse)(&settings).unwrap().technique().unwrap(), 1);
        close(&sam, &[1.0 - 0.2261433, 0.2 - 0.0552741]);
    }

    #[test]
    fn nothing_compressed_and_nothing_moved_is_twice_the_gradient() {
        let settings = Settings::from_toml("test", "sparsities = [0.0]\nradius = 0.0").unwrap();
        let twice = quadratic(&mut *(SPEC.parse)(&settings).unwrap().technique().unwrap(), 1);
        assert_eq!(twice, [1.0 - 0.1 * (2.0 * 2.06), 0.2 - 0.1 * (2.0 * 0.5)]);
    }
}
