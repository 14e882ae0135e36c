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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::{Tensor, Weight};
use lissom_train::{Detour, Due, Kept, Moment, Named, Perturbation, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

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

/// Where points are at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Start {
    /// As many weights between any two neighbours.
    #[default]
    Quantiles,
    Uniform,
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

/// Levels of one tensor, as shares of the range, ascending; and how fast they move.
#[derive(Debug, Clone, Default, PartialEq)]
struct Points {
    at: Vec<f64>,
    velocity: Vec<f64>,
}

/// Least and range of a bucket.
fn range(values: &[f32]) -> (f64, f64) {
    let low = values.iter().fold(f32::INFINITY, |low, &v| low.min(v));
    let high = values.iter().fold(f32::NEG_INFINITY, |high, &v| high.max(v));
    let range = f64::from(high) - f64::from(low);
    (f64::from(low), if range < 1e-10 { 1.0 } else { range })
}

/// The nearest of evenly spread levels.
fn nearest(share: f64, levels: usize) -> f64 {
    let steps = (levels - 1) as f64;
    (share * steps).round_ties_even() / steps
}

fn buckets(values: &[f32], bucket: usize) -> usize {
    if bucket == 0 { values.len().max(1) } else { bucket }
}

/// Q(w): every weight becomes the nearest level of its bucket.
fn quantize(values: &mut [f32], bucket: usize, levels: usize) {
    let bucket = buckets(values, bucket);
    for values in values.chunks_mut(bucket) {
        let (low, range) = range(values);
        values.iter_mut().for_each(|v| *v = (low + range * nearest((f64::from(*v) - low) / range, levels)) as f32);
    }
}

/// g + (1 at the largest − 1 at the least) · Σ g · (level − value), values as shares of the range.
fn through_scaling(values: &[f32], gradient: &mut [f32], bucket: usize, levels: usize) {
    let bucket = buckets(values, bucket);
    for (values, gradient) in values.chunks(bucket).zip(gradient.chunks_mut(bucket)) {
        let (low, range) = range(values);
        let share = |v: f32| (f64::from(v) - low) / range;
        let off = |(v, g): (&f32, &f32)| f64::from(*g) * (nearest(share(*v), levels) - share(*v));
        let residual: f64 = values.iter().zip(&*gradient).map(off).sum();
        let least = values.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
        let largest = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
        if let (Some(least), Some(largest)) = (least, largest) {
            gradient[largest] += residual as f32;
            gradient[least] -= residual as f32;
        }
    }
}

impl Points {
    fn new(values: &[f32], bucket: usize, levels: usize, start: Start) -> Self {
        let size = buckets(values, bucket);
        let even = |i: usize| i as f64 / (levels - 1) as f64;
        let at = match start {
            Start::Uniform => (0..levels).map(even).collect(),
            Start::Quantiles => {
                let shares = values.chunks(size).flat_map(|values| {
                    let (low, range) = range(values);
                    values.iter().map(move |&v| (f64::from(v) - low) / range)
                });
                let mut shares: Vec<f64> = shares.collect();
                shares.sort_by(f64::total_cmp);
                let last = shares.len().saturating_sub(1);
                let quantile = |i: usize| {
                    let position = even(i) * last as f64;
                    let (below, share) = (position.floor() as usize, position.fract());
                    shares[below] * (1.0 - share) + shares[(below + 1).min(last)] * share
                };
                (0..levels).map(quantile).collect()
            }
        };
        Self { at, velocity: vec![0.0; levels] }
    }

    /// The nearest point, the upper of two that are as near.
    fn index(&self, share: f64) -> usize {
        let above = self.at.partition_point(|&point| point <= share);
        match above {
            0 => 0,
            _ if above == self.at.len() => above - 1,
            _ if share - self.at[above - 1] < self.at[above] - share => above - 1,
            _ => above,
        }
    }

    fn quantize(&self, values: &mut [f32], bucket: usize) {
        let size = buckets(values, bucket);
        for values in values.chunks_mut(size) {
            let (low, range) = range(values);
            for v in values {
                *v = (low + range * self.at[self.index((f64::from(*v) - low) / range)]) as f32;
            }
        }
    }

    /// dL/dp of each point, from the gradient at the levels.
    fn gradient(&self, values: &[f32], gradient: &[f32], bucket: usize) -> Vec<f64> {
        let size = buckets(values, bucket);
        let mut sums = vec![0.0; self.at.len()];
        for (values, gradient) in values.chunks(size).zip(gradient.chunks(size)) {
            let (low, range) = range(values);
            for (&v, &g) in values.iter().zip(gradient) {
                sums[self.index((f64::from(v) - low) / range)] += range * f64::from(g);
            }
        }
        sums
    }

    /// One step of descent; points stay ascending.
    fn descend(&mut self, gradient: &[f64], rate: f64) {
        const MOMENTUM: f64 = 0.9;
        for ((at, velocity), g) in self.at.iter_mut().zip(&mut self.velocity).zip(gradient) {
            *velocity = MOMENTUM * *velocity + g;
            *at -= rate * (g + MOMENTUM * *velocity);
        }
        self.at.sort_by(f64::total_cmp);
    }
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

    fn noise(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 2003) as f32 / 1000.0 - 1.0).powi(3)).collect()
    }

    #[test]
    fn the_ends_of_a_bucket_are_exact_and_twice_is_once() {
        let w = noise(700);
        for bits in [1, 2, 4, 8] {
            let mut once = w.clone();
            quantize(&mut once, 256, 1 << bits);
            for (before, after) in w.chunks(256).zip(once.chunks(256)) {
                let extremes = |v: &[f32]| v.iter().fold((f32::MAX, f32::MIN), |(a, b), &x| (a.min(x), b.max(x)));
                assert_eq!(extremes(before), extremes(after));
            }
            let mut twice = once.clone();
            quantize(&mut twice, 256, 1 << bits);
            assert_eq!(once, twice);
        }
        let mut same = [0.25f32; 5];
        quantize(&mut same, 0, 4);
        assert_eq!(same, [0.25; 5]);
    }

    #[test]
    fn sizes_are_those_of_the_paper() {
        for (bits, factor) in [(2, 14.22), (4, 7.53), (8, 3.88)] {
            let own = 32.0 * 256.0 / parsed(&format!("bits = {bits}")).bits_of(256);
            assert!((own - factor).abs() < 0.005, "{bits}: {own}");
        }
    }

    #[test]
    fn the_gradient_of_points_is_that_of_differences() {
        let (w, g) = (noise(300), noise(300).into_iter().rev().collect::<Vec<_>>());
        for start in [Start::Quantiles, Start::Uniform] {
            let points = Points::new(&w, 128, 4, start);
            let gradient = points.gradient(&w, &g, 128);
            for (j, own) in gradient.iter().enumerate() {
                // Which weight has which point does not change.
                let loss = |by: f64| -> f64 {
                    let values = w.chunks(128).zip(g.chunks(128)).map(|(w, g)| {
                        let (low, range) = range(w);
                        let level = |i: usize| points.at[i] + if i == j { by } else { 0.0 };
                        let of = |(&w, &g): (&f32, &f32)| {
                            f64::from(g) * (low + range * level(points.index((f64::from(w) - low) / range)))
                        };
                        w.iter().zip(g).map(of).sum::<f64>()
                    });
                    values.sum()
                };
                let difference = (loss(1e-4) - loss(-1e-4)) / 2e-4;
                assert!((difference - own).abs() < 1e-6, "{start:?} {j}");
            }
        }
    }

    #[test]
    fn points_begin_at_quantiles_and_ties_go_up() {
        let points = Points::new(&[0.0, 0.1, 0.2, 0.3, 1.0], 0, 3, Start::Quantiles);
        assert!((points.at[1] - 0.2).abs() < 1e-7 && points.at[0] == 0.0 && points.at[2] == 1.0);
        let even = Points::new(&[0.0], 0, 3, Start::Uniform);
        assert_eq!([0.24, 0.25, 0.75, 0.76].map(|share| even.index(share)), [0, 1, 2, 2]);
    }

    #[test]
    fn the_exact_gradient_moves_the_ends() {
        // Shares 0, 0.4, 1 on levels 0, 1: 0.4 becomes 0, so Σ g (level − share) is −0.4 · 2.
        let mut gradient = [1.0f32, 2.0, 3.0];
        through_scaling(&[1.0, 1.8, 3.0], &mut gradient, 0, 2);
        assert!((gradient[0] - 1.8).abs() < 1e-6 && gradient[1] == 2.0 && (gradient[2] - 2.2).abs() < 1e-6);
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
