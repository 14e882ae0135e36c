//! Magnitude pruning in one shot: the smallest weights become zero.
//!
//! Score `|w|`; the target is shared out by an [`Allocate`] rule; zeros come in a pattern. Weights of linear layers count
//! (convolutions and matrix products, the classifier included); biases, normalisation and embeddings are never pruned.

use lissom_graph::{Layer, Model};
use lissom_recipe::{LayerFilter, Pattern, Settings, SettingsError, Sparsity};
use lissom_tensor::{DType, Tensor, Weight};
use serde::Deserialize;

use crate::parts::allocate::{Allocate, LayerWeights, keep_counts};
use crate::parts::matrix::MatrixLayout;
use crate::parts::{pattern, score, users};
use crate::{Changes, Job, LayerChange, Method, MethodError, MethodSpec, Skipped, WeightState};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "magnitude",
    summary: "set the smallest weights to zero: global, uniform, ERK or LAMP; unstructured, N:M or blocks",
    source: "Zhu & Gupta 2017, arXiv:1710.01878; Evci et al. 2020 (ERK); Lee et al. 2021, arXiv:2010.07611 (LAMP)",
    example: "sparsity = 0.5",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let method: Magnitude = settings.parse()?;
        if method.ties == Ties::Threshold && method.sparsity.pattern() != Pattern::Unstructured {
            return Err(settings.error_at("ties", "a threshold is for unstructured zeros only"));
        }
        Ok(Box::new(method))
    },
};

/// Settings of `magnitude`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Magnitude {
    /// How many weights become zero, and in which shape.
    sparsity: Sparsity,
    /// How the target is shared out over layers.
    #[serde(default)]
    allocate: Allocate,
    /// What happens to equal weights at the border.
    #[serde(default)]
    ties: Ties,
    /// Read by the recipe; named here so that it is no unknown key.
    #[serde(default, rename = "layers")]
    _layers: LayerFilter,
}

/// Equal weights at the border between kept and pruned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ties {
    /// The exact number goes; of equal weights the later ones.
    #[default]
    Exact,
    /// Every weight not above the threshold goes, as some published code does: more may go than was asked.
    Threshold,
}

impl Method for Magnitude {
    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        let mut changes = Changes::default();
        let mut targets = Vec::new();
        for layer in job.layers(model)? {
            match prunable(model, &layer)? {
                Ok(target) => targets.push(target),
                Err(reason) => changes.skipped.push(Skipped { layer: layer.name, reason }),
            }
        }
        let targets = own_weights(model, targets, &mut changes);
        changes.skipped.extend(job.inside_subgraphs(model, |_| true));
        if targets.is_empty() {
            return Err(MethodError::nothing_to_do(SPEC.name, "no layer has float weights", &changes.skipped));
        }
        let counts = self.keep_counts(model, &targets);
        for (i, (target, keep)) in targets.iter().zip(counts).enumerate() {
            job.interrupt.check()?;
            job.progress.report(i, targets.len(), &target.layer.name);
            let pruned = self.prune(target, keep)?;
            let before = WeightState::of(&Weight::Dense(target.tensor.clone()))?;
            let weight = Weight::Dense(pruned);
            let after = WeightState::of(&weight)?;
            model.graph.set_constant(target.layer.weight, weight);
            changes.layers.push(LayerChange { layer: target.layer.name.clone(), before, after });
        }
        Ok(changes)
    }
}

struct Target {
    layer: Layer,
    tensor: Tensor,
    weights: Vec<f32>,
    layout: MatrixLayout,
}

/// A layer's float weights, or why they cannot be pruned.
fn prunable(model: &Model, layer: &Layer) -> Result<Result<Target, String>, MethodError> {
    let Some(tensor) = model.graph.dense_constant(layer.weight).cloned() else {
        return Ok(Err("its weight is quantized already; prune before quantizing".into()));
    };
    if tensor.dtype() != DType::F32 {
        return Ok(Err(format!("its weight is {}, pruning works on f32", tensor.dtype())));
    }
    let weights = tensor.to_f32_vec()?;
    if weights.iter().any(|w| !w.is_finite()) {
        return Err(MethodError::NotFinite { layer: layer.name.clone(), what: "NaN or infinity" });
    }
    let layout = MatrixLayout::new(tensor.shape(), &layer.axes)?;
    Ok(Ok(Target { layer: layer.clone(), tensor, weights, layout }))
}

/// One target for each weight, without the weights that something else uses as they are.
fn own_weights(model: &Model, targets: Vec<Target>, changes: &mut Changes) -> Vec<Target> {
    let layers: Vec<Layer> = targets.iter().map(|target| target.layer.clone()).collect();
    let layers: Vec<&Layer> = layers.iter().collect();
    let mut own: Vec<Target> = Vec::new();
    for target in targets {
        let layer = &target.layer;
        if let Some(reason) = users::shared(&model.graph, &layers, layer.weight) {
            changes.skipped.push(Skipped { layer: layer.name.clone(), reason });
        } else if let Some(first) = own.iter().find(|other| other.layer.weight == layer.weight) {
            changes.notes.push(format!("`{}` uses the weight of `{}`, pruned once", layer.name, first.layer.name));
        } else {
            own.push(target);
        }
    }
    own
}

impl Magnitude {
    fn keep_counts(&self, model: &Model, targets: &[Target]) -> Vec<usize> {
        let all = model.graph.layers();
        let first_conv = all.iter().find(|layer| model.graph.value(layer.weight).fact.rank() > Some(2));
        let layers: Vec<LayerWeights<'_>> = targets
            .iter()
            .map(|target| LayerWeights {
                weights: &target.weights,
                shape: target.tensor.shape(),
                is_first_conv: first_conv.is_some_and(|first| first.weight == target.layer.weight),
                is_last: all.last().is_some_and(|last| last.weight == target.layer.weight),
            })
            .collect();
        keep_counts(self.allocate, &layers, self.sparsity.fraction())
    }

    fn prune(&self, target: &Target, keep: usize) -> Result<Tensor, MethodError> {
        let scores = target.layout.gather(&score::magnitude(&target.weights));
        let mask = match self.ties {
            Ties::Exact => pattern::mask(self.sparsity.pattern(), &target.layout, &scores, keep),
            Ties::Threshold => above_threshold(&scores, keep),
        };
        let mut weights = target.weights.clone();
        for (&index, kept) in target.layout.indices.iter().zip(mask) {
            if !kept {
                weights[index] = 0.0;
            }
        }
        Ok(Tensor::new(target.tensor.shape(), weights)?)
    }
}

/// Keeps what is strictly above the largest score that has to go.
fn above_threshold(scores: &[f32], keep: usize) -> Vec<bool> {
    let n_gone = scores.len() - keep;
    if n_gone == 0 {
        return vec![true; scores.len()];
    }
    let mut sorted = scores.to_vec();
    let (_, threshold, _) = sorted.select_nth_unstable_by(n_gone - 1, f32::total_cmp);
    scores.iter().map(|score| score > threshold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_takes_all_that_are_equal() {
        assert_eq!(above_threshold(&[1.0, 1.0, 2.0, 1.0], 2), [false, false, true, false]);
        assert_eq!(above_threshold(&[1.0, 2.0], 2), [true, true]);
    }
}
