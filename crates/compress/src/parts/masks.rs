//! Masks over the weights of a network in training: which weights count, and which of them stay.
//!
//! What counts in a sparsity are the weights of linear layers (convolutions and matrix products, the first one and the classifier
//! included), those the step's `layers` name. Biases, norms, embeddings, and weights that something else uses too are never masked.

use lissom_graph::{Model, WeightAxes};
use lissom_recipe::{LayerFilter, Pattern, Settings, SettingsError, Sparsity};
use lissom_tensor::{DType, Tensor};
use lissom_train::{Stream, TrainError, Trainer, TrainerOptions};

use super::allocate::{Allocate, LayerWeights, keep_counts};
use super::matrix::MatrixLayout;
use super::select::{Ties, border};
use super::{pattern, users};

/// A weight that masks work on.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of the layer.
    pub layer: String,
    /// Name of the weight, which is that of the parameter.
    pub name: String,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// Which axes are channels.
    pub axes: WeightAxes,
    /// The weight as a matrix.
    pub layout: MatrixLayout,
    /// True for the first convolution.
    pub is_first_conv: bool,
    /// True for the last layer.
    pub is_last: bool,
}

/// How zeros are shared out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The shape they come in.
    pub pattern: Pattern,
    /// How many for which layer.
    pub allocate: Allocate,
    /// What becomes of equal scores; strict ones are for unstructured zeros, global or uniform.
    pub ties: Ties,
}

impl Rule {
    /// As a recipe says it.
    pub fn new(sparsity: &Sparsity, allocate: Allocate, ties: Ties) -> Self {
        Self { pattern: sparsity.pattern(), allocate, ties }
    }

    /// Refuses strict ties where they mean nothing.
    ///
    /// # Errors
    /// [`SettingsError`] at `ties`.
    pub fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        let has_border = matches!(self.allocate, Allocate::Global | Allocate::Uniform);
        if self.ties == Ties::Strict && !(has_border && self.pattern == Pattern::Unstructured) {
            return Err(settings.error_at("ties", "strict ties are for unstructured zeros, global or uniform"));
        }
        Ok(())
    }
}

/// Which weights stay, for each target, in the weight's own order.
pub type Masks = Vec<Vec<bool>>;

/// The weights that masks work on, in the order of the graph.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    method: &'static str,
    /// The weights.
    pub all: Vec<Target>,
}

impl Targets {
    /// The weights of the layers that `layers` names.
    ///
    /// # Errors
    /// [`TrainError::Layers`] if a pattern matches nothing, [`TrainError::Technique`] if no weight is left.
    pub fn of(method: &'static str, model: &Model, filter: &LayerFilter) -> Result<Self, TrainError> {
        let layers = model.graph.layers();
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let selected: Vec<_> = filter.select(&names)?.into_iter().map(|index| &layers[index]).collect();
        let first_conv = layers.iter().find(|layer| model.graph.value(layer.weight).fact.rank() > Some(2));
        let mut all: Vec<Target> = Vec::new();
        for layer in &selected {
            let Some(tensor) = model.graph.dense_constant(layer.weight) else { continue };
            let name = &model.graph.value(layer.weight).name;
            let is_own = users::shared(&model.graph, &selected, layer.weight).is_none();
            if tensor.dtype() != DType::F32 || !is_own || all.iter().any(|target| target.name == *name) {
                continue;
            }
            all.push(Target {
                layer: layer.name.clone(),
                name: name.clone(),
                shape: tensor.shape().to_vec(),
                axes: layer.axes,
                layout: MatrixLayout::new(tensor.shape(), &layer.axes)?,
                is_first_conv: first_conv.is_some_and(|first| first.weight == layer.weight),
                is_last: layers.last().is_some_and(|last| last.weight == layer.weight),
            });
        }
        if all.is_empty() {
            return Err(TrainError::Technique { method, reason: "no layer has f32 weights of its own".into() });
        }
        Ok(Self { method, all })
    }

    /// As [`of`](Self::of), in a training that keeps masks.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn to_mask(
        method: &'static str,
        model: &Model,
        filter: &LayerFilter,
        options: &mut TrainerOptions,
    ) -> Result<Self, TrainError> {
        options.step.masks = true;
        Self::of(method, model, filter)
    }

    /// Only the targets of which this holds.
    ///
    /// # Errors
    /// [`TrainError::Technique`] if none is left.
    pub fn retain(&mut self, what: &str, keep: impl FnMut(&Target) -> bool) -> Result<(), TrainError> {
        self.all.retain(keep);
        if self.all.is_empty() {
            return Err(TrainError::Technique { method: self.method, reason: format!("no layer has {what}") });
        }
        Ok(())
    }

    /// The same weights as the backward pass reads them: columns are output channels, rows input channels.
    ///
    /// # Errors
    /// None that [`of`](Self::of) does not give.
    pub fn transposed(&self) -> Result<Self, TrainError> {
        let transposed = |target: &Target| -> Result<Target, TrainError> {
            let axes = WeightAxes { c_in: target.axes.c_out, c_out: target.axes.c_in, ..target.axes };
            Ok(Target { axes, layout: MatrixLayout::new(&target.shape, &axes)?, ..target.clone() })
        };
        Ok(Self { method: self.method, all: self.all.iter().map(transposed).collect::<Result<_, _>>()? })
    }

    /// The weights as they are now.
    ///
    /// # Errors
    /// [`TrainError`] if one is not trained.
    pub fn weights<'a>(&self, trainer: &'a Trainer) -> Result<Vec<&'a [f32]>, TrainError> {
        self.slices(|name| trainer.tensor(name))
    }

    /// The tensor of each target, as numbers.
    ///
    /// # Errors
    /// [`TrainError`] if one is missing.
    pub fn slices<'a>(&self, tensor: impl Fn(&str) -> Option<&'a Tensor>) -> Result<Vec<&'a [f32]>, TrainError> {
        let of = |target: &Target| {
            let reason = || format!("the weight of layer `{}` is not trained", target.layer);
            let tensor = tensor(&target.name);
            let tensor = tensor.ok_or_else(|| TrainError::Technique { method: self.method, reason: reason() })?;
            Ok(tensor.as_slice::<f32>()?)
        };
        self.all.iter().map(of).collect()
    }

    /// Which weights stay if those with the smallest magnitude go.
    pub fn by_magnitude(&self, rule: &Rule, sparsity: f64, weights: &[&[f32]]) -> Masks {
        self.masks(rule, sparsity, weights, f32::abs)
    }

    /// Which weights stay if those with the lowest scores go; the rules that look at weights look at the scores.
    pub fn by_score(&self, rule: &Rule, sparsity: f64, scores: &[&[f32]]) -> Masks {
        self.masks(rule, sparsity, scores, |score| score)
    }

    fn masks(&self, rule: &Rule, sparsity: f64, values: &[&[f32]], score: fn(f32) -> f32) -> Masks {
        let total: usize = values.iter().map(|values| values.len()).sum();
        if sparsity <= 0.0 && rule.pattern.fixed_fraction().is_none() {
            return values.iter().map(|values| vec![true; values.len()]).collect();
        }
        match (rule.allocate, rule.pattern) {
            (Allocate::Global, Pattern::Unstructured) => {
                let mut border = border(values, kept(rule.ties, total, sparsity), score);
                values.iter().map(|values| one_at_least(border.mask(values, rule.ties, score), values, score)).collect()
            }
            (Allocate::Uniform, Pattern::Unstructured) if rule.ties == Ties::Strict => {
                let one = |values: &&[f32]| {
                    let mut border = border(&[*values], kept(rule.ties, values.len(), sparsity), score);
                    border.mask(values, rule.ties, score)
                };
                values.iter().map(one).collect()
            }
            (_, pattern) => {
                let counts = self.counts(rule, sparsity, values, score);
                let targets = self.all.iter().zip(values).zip(counts);
                let mask = |((target, values), keep): ((&Target, &&[f32]), usize)| {
                    if pattern == Pattern::Unstructured {
                        return border(&[*values], keep, score).mask(values, Ties::Exact, score);
                    }
                    let scores: Vec<f32> = target.layout.indices.iter().map(|&index| score(values[index])).collect();
                    let mut mask = vec![false; values.len()];
                    target.layout.scatter(&pattern::mask(pattern, &target.layout, &scores, keep), &mut mask);
                    mask
                };
                targets.map(mask).collect()
            }
        }
    }

    /// How many weights of each target stay.
    fn counts(&self, rule: &Rule, sparsity: f64, values: &[&[f32]], score: fn(f32) -> f32) -> Vec<usize> {
        if rule.pattern.fixed_fraction().is_some() {
            return vec![0; values.len()];
        }
        if rule.allocate == Allocate::Global {
            let total = values.iter().map(|values| values.len()).sum();
            let mut border = border(values, kept(Ties::Exact, total, sparsity), score);
            let count = |values: &&[f32]| border.mask(values, Ties::Exact, score).iter().filter(|&&kept| kept).count();
            return values.iter().map(count).collect();
        }
        let layers = self.all.iter().zip(values).map(|(target, weights)| LayerWeights {
            weights,
            shape: &target.shape,
            is_first_conv: target.is_first_conv,
            is_last: target.is_last,
        });
        keep_counts(rule.allocate, &layers.collect::<Vec<_>>(), sparsity)
    }

    /// Masks drawn at random: as many weights stay in each layer as the rule says (global: the same share of each).
    pub fn at_random(&self, rule: &Rule, sparsity: f64, stream: impl Fn(u64) -> Stream) -> Masks {
        let drawn: Vec<Vec<f32>> = self
            .all
            .iter()
            .enumerate()
            .map(|(layer, target)| {
                let stream = stream(layer as u64);
                (0..target.layout.indices.len() as u64).map(|i| stream.uniform(i) as f32).collect()
            })
            .collect();
        let scores: Vec<&[f32]> = drawn.iter().map(Vec::as_slice).collect();
        let allocate = match rule.allocate {
            Allocate::Global | Allocate::Lamp => Allocate::Uniform,
            other => other,
        };
        self.by_score(&Rule { allocate, ties: Ties::Exact, ..*rule }, sparsity, &scores)
    }

    /// The masks in force.
    ///
    /// # Errors
    /// [`TrainError`] if the training keeps none.
    pub fn masks_of(&self, trainer: &Trainer) -> Result<Masks, TrainError> {
        let masks = self.slices(|name| trainer.mask(name))?;
        Ok(masks.into_iter().map(|mask| mask.iter().map(|&kept| kept != 0.0).collect()).collect())
    }

    /// Puts masks in force: the weights that go are zero from now on.
    ///
    /// # Errors
    /// [`TrainError`] if the training keeps none.
    pub fn set_masks(&self, trainer: &mut Trainer, masks: &Masks) -> Result<(), TrainError> {
        for (target, mask) in self.all.iter().zip(masks) {
            let mask: Vec<f32> = mask.iter().map(|&kept| f32::from(u8::from(kept))).collect();
            trainer.set_mask(&target.name, Tensor::new(target.shape.clone(), mask)?)?;
        }
        Ok(())
    }

    /// Brings the weights with the smallest magnitude to zero, and keeps them there.
    ///
    /// # Errors
    /// [`TrainError`] if the training keeps no masks.
    pub fn prune(&self, trainer: &mut Trainer, rule: &Rule, sparsity: f64) -> Result<(), TrainError> {
        let masks = self.by_magnitude(rule, sparsity, &self.weights(trainer)?);
        self.set_masks(trainer, &masks)
    }

    /// Lets every weight be anything; those that were masked are zero now.
    ///
    /// # Errors
    /// [`TrainError`] if the training keeps no masks.
    pub fn clear_masks(&self, trainer: &mut Trainer) -> Result<(), TrainError> {
        let ones: Masks = self.all.iter().map(|target| vec![true; target.layout.indices.len()]).collect();
        self.set_masks(trainer, &ones)
    }

    /// Share of the targets' weights that is zero.
    pub fn sparsity(&self, trainer: &Trainer) -> f64 {
        let tensors = self.all.iter().filter_map(|target| trainer.tensor(&target.name));
        let (zeros, len) = tensors.fold((0, 0), |(zeros, len), t| (zeros + t.count_zeros(), len + t.len()));
        zeros as f64 / len.max(1) as f64
    }
}

/// How many of `total` weights lie at or above the border.
fn kept(ties: Ties, total: usize, sparsity: f64) -> usize {
    match ties {
        Ties::Exact => total - (sparsity * total as f64).round() as usize,
        Ties::Strict => (total as f64 * (1.0 - sparsity)).ceil() as usize,
    }
}

/// A layer without a single weight passes nothing on: its best one stays.
fn one_at_least(mut mask: Vec<bool>, values: &[f32], score: fn(f32) -> f32) -> Vec<bool> {
    if !mask.contains(&true) {
        let better = |&best: &usize, i: usize| if score(values[i]) > score(values[best]) { i } else { best };
        if !values.is_empty() {
            mask[(1..values.len()).fold(0, |best, i| better(&best, i))] = true;
        }
    }
    mask
}

/// How much of the weights differs between two sets of masks.
pub fn distance(a: &Masks, b: &Masks) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    let (n, differ) = pairs.fold((0usize, 0usize), |(n, differ), (a, b)| (n + 1, differ + usize::from(a != b)));
    differ as f64 / n.max(1) as f64
}
