//! Quantized distillation: a network whose weights have few levels learns from itself as it was.
//!
//! Weights are cut, row after row, into buckets of `bucket` numbers; in each the levels lie evenly from the least to the largest. The network computes
//! with the levels, and the gradient there is given to the float weights: as it is (`straight`), where `|w| ≤ 1` (`truncated`), or through
//! the scaling too (`exact`: the ends of a bucket get Σ g · (level − value), as shares of the range). The result has the levels.
//!
//! With `points` the weights stay, and where the levels lie is learned instead, for each tensor: differentiable quantization. A level gets the
//! gradients of all its weights times the ranges of their buckets, and moves by gradient descent with momentum 0.9 as Nesterov has it. Biases and norms
//! learn as `[train]` says.
//!
//! Of the loss, `teacher_share` follows the network as it was. The divergence is a mean over the batch; the published code divides by the number of
//! classes too, and it quantizes biases and norms, which stay float here. Zero is no level in general, so that no encoding of ONNX holds such
//! weights: they are written as floats of which a bucket has few.

mod levels;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::{Tensor, Weight};
use lissom_train::{Detour, Due, Kept, Moment, Named, Perturbation, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use self::levels::{Points, Start, quantize, through_scaling};
use super::trained::Trained;
use crate::parts::masks::Targets;
use crate::parts::teacher::{self, Teacher};
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "quantized_distillation",
    summary: "train weights of a few levels a bucket, or where these lie, with the network as it was for a teacher",
    source: "Polino et al., ICLR 2018, arXiv:1802.05668",
    example: "bits = 4\nbucket = 256\nteacher_share = 0.7\ntemperature = 2.0",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let own: Distilled = settings.parse()?;
        if !(1..=8).contains(&own.bits) {
            return Err(settings.error_at("bits", "must be between 1 and 8"));
        }
        if !(0.0..=1.0).contains(&own.teacher_share) {
            return Err(settings.error_at("teacher_share", "must be between 0 and 1"));
        }
        if !(own.temperature > 0.0 && own.temperature.is_finite()) {
            return Err(settings.error_at("temperature", "must be more than 0"));
        }
        if !(own.rate > 0.0 && own.rate.is_finite()) {
            return Err(settings.error_at("rate", "must be more than 0"));
        }
        let own = Distilled { shared: Arc::default(), ..own };
        Ok(Box::new(Trained { name: SPEC.name, technique: own }))
    },
};

/// Settings of `quantized_distillation`, and what it keeps.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Distilled {
    /// Levels are 2 to the power of these.
    bits: u8,
    /// Weights that share a range; 0 for all of a tensor.
    #[serde(default = "bucket")]
    bucket: usize,
    /// Learns where levels lie instead of weights.
    #[serde(default)]
    points: bool,
    /// Learning rate of these.
    #[serde(default = "rate")]
    rate: f64,
    #[serde(default)]
    start: Start,
    #[serde(default)]
    gradient: Gradient,
    #[serde(default = "teacher_share")]
    teacher_share: f64,
    #[serde(default = "temperature")]
    temperature: f64,
    /// Whether the first convolution and the last layer are quantized too.
    #[serde(default)]
    ends: bool,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    #[serde(skip)]
    teacher: Option<Teacher>,
    /// Weights that stay while points are learned.
    #[serde(skip)]
    fixed: Vec<Tensor>,
    #[serde(skip)]
    shared: Arc<Mutex<Vec<Points>>>,
}

fn bucket() -> usize {
    256
}

fn rate() -> f64 {
    1e-5
}

fn teacher_share() -> f64 {
    0.7
}

fn temperature() -> f64 {
    2.0
}

impl Clone for Distilled {
    /// Two trainings share nothing.
    fn clone(&self) -> Self {
        let (layers, targets) = (self.layers.clone(), self.targets.clone());
        Self { layers, targets, teacher: None, fixed: Vec::new(), shared: Arc::default(), ..*self }
    }
}

/// What of the gradient at the levels the weights get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Gradient {
    #[default]
    Straight,
    Truncated,
    Exact,
}

#[derive(Debug)]
struct DistilledDetour {
    settings: Distilled,
    shared: Arc<Mutex<Vec<Points>>>,
}

impl Detour for DistilledDetour {
    fn perturbation(&self) -> Option<Perturbation> {
        None
    }

    fn weights(&mut self, _: u64, weights: &mut Named) -> Result<(), TrainError> {
        let settings = &self.settings;
        if settings.points {
            let values = settings.targets.slices(|name| weights.get(name))?;
            settings.start_points(&mut locked(&self.shared), &values);
        }
        let points = locked(&self.shared);
        for (index, target) in settings.targets.all.iter().enumerate() {
            let Some(tensor) = weights.get_mut(&target.name) else { continue };
            settings.to_levels(tensor.as_mut_slice()?, points.get(index));
        }
        Ok(())
    }

    fn gradients(&mut self, weights: &Named, _: Option<&Named>, gradients: &mut Named) -> Result<(), TrainError> {
        let settings = &self.settings;
        let mut points = locked(&self.shared);
        for (index, target) in settings.targets.all.iter().enumerate() {
            let (Some(weight), Some(gradient)) = (weights.get(&target.name), gradients.get_mut(&target.name)) else {
                continue;
            };
            let (values, gradient) = (weight.as_slice::<f32>()?, gradient.as_mut_slice::<f32>()?);
            if let Some(points) = points.get_mut(index).filter(|_| settings.points) {
                let to_points = points.gradient(values, gradient, settings.bucket);
                points.descend(&to_points, settings.rate);
                gradient.fill(0.0);
                continue;
            }
            match settings.gradient {
                Gradient::Straight => {}
                Gradient::Truncated => {
                    let outside = gradient.iter_mut().zip(values).filter(|(_, v)| v.abs() > 1.0);
                    outside.for_each(|(gradient, _)| *gradient = 0.0);
                }
                Gradient::Exact => through_scaling(values, gradient, settings.bucket, settings.levels()),
            }
        }
        Ok(())
    }
}

fn locked(shared: &Mutex<Vec<Points>>) -> MutexGuard<'_, Vec<Points>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Distilled {
    fn levels(&self) -> usize {
        1 << self.bits
    }

    fn start_points(&self, points: &mut Vec<Points>, values: &[&[f32]]) {
        if points.is_empty() {
            points.extend(values.iter().map(|values| Points::new(values, self.bucket, self.levels(), self.start)));
        }
    }

    fn to_levels(&self, values: &mut [f32], points: Option<&Points>) {
        if let Some(points) = points.filter(|_| self.points) {
            return points.quantize(values, self.bucket);
        }
        if self.gradient == Gradient::Truncated {
            values.iter_mut().for_each(|v| *v = v.clamp(-1.0, 1.0));
        }
        quantize(values, self.bucket, self.levels());
    }

    /// Bits that `n` weights take: their levels, and two floats a bucket.
    fn bits_of(&self, n: usize) -> f64 {
        let buckets = if self.bucket == 0 { 1.0 } else { n as f64 / self.bucket as f64 };
        n as f64 * f64::from(self.bits) + 64.0 * buckets
    }
}

impl Technique for Distilled {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::of(SPEC.name, model, &self.layers)?;
        if !self.ends {
            self.targets.retain("weights between the ends", |target| !target.is_first_conv && !target.is_last)?;
        }
        teacher::follow(options, self.teacher_share, self.temperature)?;
        self.teacher = if teacher::is_followed(options) { Some(Teacher::new(model, options.threads)?) } else { None };
        let settings = self.clone();
        options.detour = Some(Box::new(DistilledDetour { settings, shared: Arc::clone(&self.shared) }));
        Ok(())
    }

    fn targets(&mut self, _: &Moment, batch: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, TrainError> {
        self.teacher.as_ref().map_or(Ok(Vec::new()), |teacher| teacher.targets(batch))
    }

    fn before_step(&mut self, trainer: &mut Trainer, _: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        if self.points && self.fixed.is_empty() {
            let weights = self.targets.all.iter().filter_map(|target| trainer.tensor(&target.name));
            self.fixed = weights.cloned().collect();
        }
        Ok(Due::Train)
    }

    /// Decay would move the weights that are to stay.
    fn after_step(&mut self, trainer: &mut Trainer, _: &Moment) -> Result<(), TrainError> {
        for (target, fixed) in self.targets.all.iter().zip(&self.fixed) {
            if trainer.tensor(&target.name) != Some(fixed) {
                trainer.set_tensor(&target.name, fixed.clone())?;
            }
        }
        Ok(())
    }

    fn network(&self, trainer: &Trainer) -> Result<Model, TrainError> {
        let mut model = trainer.model();
        let values = self.targets.weights(trainer)?;
        let mut points = locked(&self.shared);
        if self.points {
            self.start_points(&mut points, &values);
        }
        for (index, (target, values)) in self.targets.all.iter().zip(values).enumerate() {
            let Some(value) = model.graph.find_value(&target.name) else { continue };
            let mut values = values.to_vec();
            self.to_levels(&mut values, points.get(index));
            model.graph.set_constant(value, Weight::Dense(Tensor::new(target.shape.clone(), values)?));
        }
        Ok(model)
    }

    fn metrics(&self, _: &Trainer) -> Vec<(String, f64)> {
        let n: usize = self.targets.all.iter().map(|target| target.shape.iter().product::<usize>()).sum();
        vec![("bits_a_weight".to_owned(), self.bits_of(n) / n.max(1) as f64)]
    }

    fn save(&self) -> Kept {
        let mut kept = Kept::default();
        for (index, points) in locked(&self.shared).iter().enumerate() {
            for (what, values) in [("points", &points.at), ("velocity", &points.velocity)] {
                kept.tensors.insert(format!("{what}.{index:04}"), Tensor::vector(values.clone()));
            }
        }
        kept
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        let named = |what: &str| -> Result<Vec<Vec<f64>>, TrainError> {
            let own = kept.tensors.iter().filter(|(name, _)| name.starts_with(what));
            own.map(|(_, tensor)| Ok(tensor.as_slice::<f64>()?.to_vec())).collect()
        };
        let all = named("points.")?.into_iter().zip(named("velocity.")?);
        *locked(&self.shared) = all.map(|(at, velocity)| Points { at, velocity }).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::training_tests::quadratic;
    use super::*;

    fn parsed(text: &str) -> Distilled {
        Settings::from_toml("test", text).unwrap().parse().unwrap()
    }

    #[test]
    fn sizes_are_those_of_the_paper() {
        for (bits, factor) in [(2, 14.22), (4, 7.53), (8, 3.88)] {
            let own = 32.0 * 256.0 / parsed(&format!("bits = {bits}")).bits_of(256);
            assert!((own - factor).abs() < 0.005, "{bits}: {own}");
        }
    }

    #[test]
    fn weights_learn_or_points_do() {
        let technique = |text: &str| {
            let settings = Settings::from_toml("test", text).unwrap();
            (SPEC.parse)(&settings).unwrap().technique().unwrap()
        };
        // Two levels for two weights: these are the levels, and the step is the plain one.
        let after = quadratic(&mut *technique("bits = 1\nteacher_share = 0\nends = true"), 1);
        assert!((after[0] - 0.794).abs() < 1e-6 && (after[1] - 0.15).abs() < 1e-6, "{after:?}");
        let after = quadratic(&mut *technique("bits = 1\nteacher_share = 0\nends = true\npoints = true"), 3);
        assert_eq!(after, [1.0, 0.2]);
    }
}
