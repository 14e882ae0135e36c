//! BinaryRelax: weights of one, two or a few levels, drawn to them more and more before they are held there.
//!
//! The optimizer works on float weights Y. In the first `relaxed` of the epochs the network computes with W = (λ proj(Y) + Y) / (λ + 1), λ growing
//! by ρ each epoch; after that with W = proj(Y). The gradient is taken at W and given to Y. The result is proj(Y).
//!
//! proj, for each layer: one bit, `α · sign(w)` with α the mean magnitude; two bits, `α · {−1, 0, 1}`, zero where `|w| < 0.7 · mean|w|` and α the
//! mean of the magnitudes that stay (the published code divides by all of them: `mean_of_all`); more bits, integers times α, both found in turn.
//! Quantized are the layers that `layers` says, without the first convolution and the classifier unless `ends` says so.
//!
//! The code published with it chooses the best of all epochs on the test data; here the last is the result.

use std::sync::{Arc, Mutex, PoisonError};

use lissom_graph::Model;
use lissom_passes::upgrade_opset;
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::{Affine, DType, Tensor, Weight};
use lissom_train::{Detour, Due, Moment, Named, Perturbation, Technique, TrainError, Trainer, TrainerOptions};
use rayon::prelude::*;
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::masks::Targets;
use crate::parts::quantizer::Codes;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "binary_relax",
    summary: "train binary, ternary or few-bit weights that are drawn to their levels before they are held there",
    source: "Yin et al., SIAM J. Imaging Sciences 2018, arXiv:1801.06313",
    example: "bits = 2\nlambda = 1.0\ngrowth = 1.04\nrelaxed = 0.4",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let relax: BinaryRelax = settings.parse()?;
        if !(1..=8).contains(&relax.bits) {
            return Err(settings.error_at("bits", "must be 1 (binary), 2 (ternary) or at most 8"));
        }
        if !(relax.lambda >= 0.0 && relax.lambda.is_finite()) {
            return Err(settings.error_at("lambda", "must not be negative"));
        }
        if !(relax.growth >= 1.0 && relax.growth.is_finite()) {
            return Err(settings.error_at("growth", "must be at least 1"));
        }
        if !(0.0..=1.0).contains(&relax.relaxed) {
            return Err(settings.error_at("relaxed", "is a share of the epochs, between 0 and 1"));
        }
        let relax = BinaryRelax { now: Arc::default(), ..relax };
        Ok(Box::new(Trained { name: SPEC.name, technique: relax }))
    },
};

/// Settings of `binary_relax`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct BinaryRelax {
    bits: u8,
    /// λ before the first epoch.
    #[serde(default = "lambda")]
    lambda: f64,
    /// ρ.
    #[serde(default = "growth")]
    growth: f64,
    /// Share of the epochs in which weights are between.
    #[serde(default = "relaxed")]
    relaxed: f64,
    /// Whether the first convolution and the classifier are quantized too.
    #[serde(default)]
    ends: bool,
    /// Ternary: α is the sum of the magnitudes that stay over the number of all weights, as the published code has it.
    #[serde(default)]
    mean_of_all: bool,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    #[serde(skip)]
    now: Arc<Mutex<Lambda>>,
}

fn lambda() -> f64 {
    1.0
}

fn growth() -> f64 {
    1.04
}

fn relaxed() -> f64 {
    0.4
}

/// λ of this epoch; none where weights are held at their levels.
#[derive(Debug, Clone, Copy, Default)]
struct Lambda(Option<f64>);

/// What a weight is projected to: codes times a scale.
#[derive(Debug, Clone, PartialEq)]
struct Projection {
    codes: Vec<i8>,
    scale: f32,
}

/// Rounds of finding codes and scale in turn.
const ROUNDS: usize = 5;

fn project(weights: &[f32], bits: u8, mean_of_all: bool) -> Projection {
    match bits {
        1 => binary(weights),
        2 => ternary(weights, mean_of_all),
        _ => levels(weights, bits),
    }
}

fn mean(values: impl Iterator<Item = f32>, n: usize) -> f32 {
    (values.map(f64::from).sum::<f64>() / n.max(1) as f64) as f32
}

/// Zero counts as positive.
fn binary(weights: &[f32]) -> Projection {
    let codes = weights.iter().map(|&w| if w < 0.0 { -1 } else { 1 }).collect();
    Projection { codes, scale: mean(weights.iter().map(|w| w.abs()), weights.len()) }
}

fn ternary(weights: &[f32], mean_of_all: bool) -> Projection {
    let border = 0.7 * mean(weights.iter().map(|w| w.abs()), weights.len());
    let kept = |w: &f32| w.abs() >= border && *w != 0.0;
    let codes = weights.iter().map(|w| if kept(w) { w.signum() as i8 } else { 0 }).collect();
    let n = if mean_of_all { weights.len() } else { weights.iter().filter(|w| kept(w)).count() };
    Projection { codes, scale: mean(weights.iter().filter(|w| kept(w)).map(|w| w.abs()), n) }
}

/// Nearest codes for a scale, the best scale for codes, and again.
fn levels(weights: &[f32], bits: u8) -> Projection {
    let most = ((1i32 << (bits - 1)) - 1) as f32;
    let mut scale = weights.iter().fold(0f32, |most, w| most.max(w.abs())) / most;
    let mut codes = vec![0i8; weights.len()];
    for _ in 0..ROUNDS {
        if !scale.is_normal() {
            return Projection { codes: vec![0; weights.len()], scale: 0.0 };
        }
        for (code, w) in codes.iter_mut().zip(weights) {
            *code = (w / scale).round_ties_even().clamp(-most, most) as i8;
        }
        let products: f64 = codes.iter().zip(weights).map(|(&code, &w)| f64::from(code) * f64::from(w)).sum();
        let squares: f64 = codes.iter().map(|&code| f64::from(code).powi(2)).sum();
        if squares > 0.0 {
            scale = (products / squares) as f32;
        }
    }
    Projection { codes, scale }
}

/// (λ proj(y) + y) / (λ + 1) in place; proj(y) without λ.
fn relax(weights: &mut [f32], projection: &Projection, lambda: Option<f64>) {
    for (w, &code) in weights.iter_mut().zip(&projection.codes) {
        let level = f32::from(code) * projection.scale;
        *w = match lambda {
            Some(lambda) => ((lambda * f64::from(level) + f64::from(*w)) / (lambda + 1.0)) as f32,
            None => level,
        };
    }
}

#[derive(Debug)]
struct RelaxDetour {
    settings: BinaryRelax,
}

impl Detour for RelaxDetour {
    fn perturbation(&self) -> Option<Perturbation> {
        None
    }

    fn weights(&mut self, _: u64, weights: &mut Named) -> Result<(), TrainError> {
        let Lambda(lambda) = *self.settings.now.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slices = Vec::new();
        for (name, tensor) in weights.iter_mut() {
            if self.settings.targets.all.iter().any(|target| target.name == *name) {
                slices.push(tensor.as_mut_slice::<f32>()?);
            }
        }
        slices.into_par_iter().for_each(|slice| {
            let projection = project(slice, self.settings.bits, self.settings.mean_of_all);
            relax(slice, &projection, lambda);
        });
        Ok(())
    }

    fn gradients(&mut self, _: &Named, _: Option<&Named>, _: &mut Named) -> Result<(), TrainError> {
        Ok(())
    }
}

impl BinaryRelax {
    /// λ of an epoch, counted from 0.
    fn lambda_of(&self, epoch: u64, epochs: u64) -> Option<f64> {
        let is_relaxed = (epoch as f64) < self.relaxed * epochs as f64;
        is_relaxed.then(|| self.lambda * self.growth.powf((epoch + 1) as f64))
    }

    fn codes(&self) -> Codes {
        Codes::signed(self.bits.max(2))
    }

    fn affine(&self, weights: &[f32], shape: &[usize], opset: u32) -> Result<Affine, TrainError> {
        let Projection { codes, scale } = project(weights, self.bits, self.mean_of_all);
        let dtype = match self.codes().dtype {
            DType::I2 if opset >= 25 => DType::I2,
            DType::I2 | DType::I4 if opset >= 21 => DType::I4,
            _ => DType::I8,
        };
        let codes = Codes { dtype, ..self.codes() }.tensor(shape, codes.into_iter().map(i32::from).collect())?;
        let scale = Tensor::scalar(if scale.is_normal() { scale } else { 1.0 });
        Ok(Affine { codes, scale, zero_point: None, axis: 0, block_size: 0 })
    }
}

impl Technique for BinaryRelax {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        // Larger codes hold fewer bits as well: a network that cannot be brought to a later opset has those.
        let wanted: &[u32] = match self.bits {
            0..=2 => &[25, 21, 13],
            3..=4 => &[21, 13],
            _ => &[13],
        };
        wanted.iter().any(|&opset| upgrade_opset(model, opset).is_ok());
        self.targets = Targets::of(SPEC.name, model, &self.layers)?;
        if !self.ends {
            self.targets.retain("weights between the ends", |target| !target.is_first_conv && !target.is_last)?;
        }
        options.detour = Some(Box::new(RelaxDetour { settings: self.clone() }));
        Ok(())
    }

    fn before_step(&mut self, _: &mut Trainer, at: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        let lambda = Lambda(self.lambda_of(at.epoch, at.epochs));
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = lambda;
        Ok(Due::Train)
    }

    fn network(&self, trainer: &Trainer) -> Result<Model, TrainError> {
        let mut model = trainer.model();
        for (target, weights) in self.targets.all.iter().zip(self.targets.weights(trainer)?) {
            let Some(value) = model.graph.find_value(&target.name) else { continue };
            let affine = self.affine(weights, &target.shape, model.opset())?;
            model.graph.set_constant(value, Weight::Affine(affine));
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::super::training_tests::quadratic;
    use super::*;

    fn values(projection: &Projection) -> Vec<f32> {
        projection.codes.iter().map(|&code| f32::from(code) * projection.scale).collect()
    }

    #[test]
    fn the_levels_are_those_of_the_papers() {
        assert_eq!(values(&binary(&[0.5, -1.5, 0.0])), [2.0 / 3.0, -2.0 / 3.0, 2.0 / 3.0]);
        // The border is 0.7 · 1: three stay, whose mean is 1.6; the published code divides by all six.
        let w = [2.0, -1.5, 1.3, 0.6, -0.4, 0.2];
        assert_eq!(ternary(&w, false).codes, [1, -1, 1, 0, 0, 0]);
        assert!((ternary(&w, false).scale - 1.6).abs() < 1e-6 && (ternary(&w, true).scale - 0.8).abs() < 1e-6);
        assert_eq!(ternary(&[0.0, 0.0], false), Projection { codes: vec![0, 0], scale: 0.0 });
        let three = levels(&[3.0, -3.0, 2.1, 0.9, 0.1], 3);
        assert_eq!(three.codes, [3, -3, 2, 1, 0]);
        assert!((three.scale - 23.1 / 23.0).abs() < 1e-6, "{}", three.scale);
    }

    #[test]
    fn the_ternary_rule_is_near_the_best_there_is() {
        let w: Vec<f32> = (0..40).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0).powi(3)).collect();
        let error = |codes: &[i8], scale: f32| -> f64 {
            codes.iter().zip(&w).map(|(&code, w)| f64::from(w - f32::from(code) * scale).powi(2)).sum()
        };
        let own = ternary(&w, false);
        let best = w.iter().map(|border| {
            let codes: Vec<i8> = w.iter().map(|w| if w.abs() >= border.abs() { w.signum() as i8 } else { 0 }).collect();
            let kept = codes.iter().filter(|&&code| code != 0).count();
            let scale = codes.iter().zip(&w).map(|(&code, w)| f32::from(code) * w).sum::<f32>() / kept as f32;
            error(&codes, scale)
        });
        let best = best.fold(f64::INFINITY, f64::min);
        assert!(error(&own.codes, own.scale) < 1.25 * best, "{} {best}", error(&own.codes, own.scale));
    }

    #[test]
    fn weights_are_between_as_far_as_lambda_says() {
        let y = [0.5f32, -1.5, 0.25, 3.0];
        let projection = ternary(&y, false);
        for (lambda, share) in [(Some(0.0), 1.0), (Some(3.0), 0.25), (Some(1e12), 0.0), (None, 0.0)] {
            let mut w = y;
            relax(&mut w, &projection, lambda);
            for ((w, y), level) in w.iter().zip(&y).zip(values(&projection)) {
                assert!((w - level - share * (y - level)).abs() < 1e-6, "{lambda:?}");
            }
        }
    }

    #[test]
    fn lambda_grows_by_the_epoch_until_the_second_phase() {
        let settings = Settings::from_toml("test", SPEC.example).unwrap();
        let relax: BinaryRelax = settings.parse().unwrap();
        assert!((relax.lambda_of(79, 200).unwrap() - 1.04f64.powi(80)).abs() < 1e-9);
        assert!((relax.lambda_of(0, 200).unwrap() - 1.04).abs() < 1e-12 && relax.lambda_of(80, 200).is_none());
    }

    #[test]
    fn the_gradient_is_that_at_the_levels_and_reaches_the_floats() {
        // Binary: θ = (1, 0.2) becomes (0.6, 0.6), where the gradient is (1.38, 0.78).
        let settings = Settings::from_toml("test", "bits = 1\nrelaxed = 0\nends = true").unwrap();
        let after = quadratic(&mut *(SPEC.parse)(&settings).unwrap().technique().unwrap(), 1);
        assert!((after[0] - 0.862).abs() < 1e-6 && (after[1] - 0.122).abs() < 1e-6, "{after:?}");
    }
}
