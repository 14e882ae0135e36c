//! Measures the statistics of batch normalisation again, which pruning has shifted.
//!
//! Layer by layer in the order of the graph, each with the layers before it already corrected. Biased variance over all
//! samples and positions, in f64.
//!
//! Two forms, for data that is not what the network was trained on:
//! - `absolute`: mean and variance of the layer's input on the calibration data, as published.
//! - `relative` (default): the stored statistics, moved by what pruning changed. With `(m₀, v₀)` on the original and
//!   `(m₁, v₁)` on the pruned network over the same samples: `variance = stored · v₁ / v₀` and
//!   `mean = m₁ + (stored − m₀) · √(v₁ / v₀)`. An unpruned network keeps its statistics. Stored statistics come from augmented
//!   training images; replacing them by those of plain images costs accuracy by itself.

use lissom_graph::{Model, Node, ValueId};
use lissom_recipe::{Settings, SettingsError};
use lissom_tensor::{DType, Tensor, Weight};
use serde::Deserialize;

use crate::{Changes, Job, Method, MethodError, MethodSpec, Skipped};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "reestimate_batch_norm",
    summary: "measure batch-norm statistics again on calibration data, after pruning has shifted them",
    source: "Peste et al. 2023 (CrAM), arXiv:2207.14200, batch-norm tuning; the relative form is lissom's own",
    example: "samples = 64",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let method: ReestimateBatchNorm = settings.parse()?;
        if method.samples == 0 {
            return Err(settings.error_at("samples", "at least one sample is needed"));
        }
        Ok(Box::new(method))
    },
};

/// Settings of `reestimate_batch_norm`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReestimateBatchNorm {
    /// Calibration samples to measure on.
    #[serde(default = "default_samples")]
    samples: usize,
    /// What the measured statistics replace.
    #[serde(default)]
    form: Form,
}

fn default_samples() -> usize {
    1000
}

/// See the module's documentation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    /// Move the stored statistics by what changed against the original.
    #[default]
    Relative,
    /// Replace the stored statistics.
    Absolute,
}

impl Method for ReestimateBatchNorm {
    fn needs_calibration(&self) -> bool {
        true
    }

    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        let names: Vec<String> = norms(model).map(|node| node.name.clone()).collect();
        if names.is_empty() {
            let reason = "the model has no batch normalisation; it may be folded already".to_owned();
            return Err(MethodError::NothingToDo { method: SPEC.name, reason });
        }
        let original = match (self.form, job.reference) {
            (Form::Relative, Some(reference)) => self.measure_all(reference, job)?,
            (Form::Relative, None) => {
                let reason = "the relative form needs the model from before pruning".to_owned();
                return Err(MethodError::NothingToDo { method: SPEC.name, reason });
            }
            (Form::Absolute, _) => Vec::new(),
        };
        let mut changes = Changes::default();
        let mut done = 0;
        for (i, name) in names.iter().enumerate() {
            job.progress.report(i, names.len(), name);
            let before = original.iter().find(|(norm, _)| norm == name).map(|(_, moments)| moments);
            if self.form == Form::Relative && before.is_none() {
                let reason = "the original has no normalisation of this name".to_owned();
                changes.skipped.push(Skipped { layer: name.clone(), reason });
                continue;
            }
            match self.reestimate(model, name, before, job)? {
                None => done += 1,
                Some(reason) => changes.skipped.push(Skipped { layer: name.clone(), reason }),
            }
        }
        changes.notes.push(format!(
            "{done} of {} batch normalisations re-estimated ({}) on {} samples",
            names.len(),
            if self.form == Form::Relative { "relative" } else { "absolute" },
            job.n_samples(SPEC.name, self.samples)?,
        ));
        Ok(changes)
    }
}

fn norms(model: &Model) -> impl Iterator<Item = &Node> {
    model.graph.nodes().iter().filter(|node| node.op_type == "BatchNormalization" && node.domain.is_empty())
}

impl ReestimateBatchNorm {
    /// Moments of the input of every normalisation, in one pass.
    fn measure_all(&self, model: &Model, job: &Job<'_>) -> Result<Vec<(String, Moments)>, MethodError> {
        let nodes: Vec<(String, ValueId)> =
            norms(model).filter_map(|node| Some((node.name.clone(), node.inputs.first().copied()??))).collect();
        let values: Vec<ValueId> = nodes.iter().map(|(_, id)| *id).collect();
        let mut moments = vec![Moments::default(); values.len()];
        job.observe(SPEC.name, model, &values, self.samples, |_, tensors| {
            moments.iter_mut().zip(tensors).try_for_each(|(moments, tensor)| moments.add(tensor))
        })?;
        Ok(nodes.into_iter().map(|(name, _)| name).zip(moments).collect())
    }

    /// Gives one normalisation new statistics; says why if it cannot.
    fn reestimate(
        &self,
        model: &mut Model,
        name: &str,
        before: Option<&Moments>,
        job: &Job<'_>,
    ) -> Result<Option<String>, MethodError> {
        let Some(node) = norms(model).find(|node| node.name == name).cloned() else { return Ok(None) };
        let id = |input: usize| node.inputs.get(input).copied().flatten();
        let (Some(x), Some(mean_id), Some(variance_id)) = (id(0), id(3), id(4)) else {
            return Ok(Some("an input is missing".to_owned()));
        };
        let stored = |id| model.graph.dense_constant(id).filter(|tensor| tensor.dtype() == DType::F32).cloned();
        let (Some(mean), Some(variance)) = (stored(mean_id), stored(variance_id)) else {
            return Ok(Some("its statistics are no f32 constants".to_owned()));
        };
        let mut prefix = model.clone();
        prefix.graph.set_outputs(vec![x]);
        prefix.graph.drop_dead();
        let mut after = Moments::default();
        job.observe(SPEC.name, &prefix, &[x], self.samples, |_, tensors| {
            tensors.iter().try_for_each(|tensor| after.add(tensor))
        })?;
        let (new_mean, new_variance) = match before {
            None => (after.mean(), after.variance()),
            Some(before) => moved(&mean.to_f64_vec()?, &variance.to_f64_vec()?, before, &after),
        };
        if new_mean.len() != mean.len() || new_mean.iter().chain(&new_variance).any(|value| !value.is_finite()) {
            return Ok(Some("its input is not finite or has another number of channels".to_owned()));
        }
        // Statistics may be shared between normalisations, so each gets constants of its own.
        let dense = |values: Vec<f64>| Weight::Dense(Tensor::vector(values.into_iter().map(|v| v as f32).collect()));
        let mut patch = lissom_graph::Patch::new(&model.graph, model.opset());
        let mut changed = node.clone();
        changed.inputs[3] = Some(patch.constant(&model.graph.value(mean_id).name, dense(new_mean)));
        changed.inputs[4] = Some(patch.constant(&model.graph.value(variance_id).name, dense(new_variance)));
        if let Some(position) = model.graph.find_node(name) {
            patch.remove_node(position);
            patch.push_node(changed);
            model.graph.apply(patch)?;
        }
        Ok(None)
    }
}

/// The stored statistics moved by what changed between two networks.
fn moved(mean: &[f64], variance: &[f64], before: &Moments, after: &Moments) -> (Vec<f64>, Vec<f64>) {
    let (m0, v0, m1, v1) = (before.mean(), before.variance(), after.mean(), after.variance());
    let ratio = |c: usize| if v0[c] > 0.0 { v1[c] / v0[c] } else { 1.0 };
    let new_mean = (0..mean.len().min(m0.len())).map(|c| m1[c] + (mean[c] - m0[c]) * ratio(c).sqrt()).collect();
    let new_variance = (0..variance.len().min(v0.len())).map(|c| variance[c] * ratio(c)).collect();
    (new_mean, new_variance)
}

/// Count, mean and sum of squared deviations of each channel, joined batch by batch without cancellation.
#[derive(Debug, Clone, Default)]
struct Moments {
    count: f64,
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Takes in a tensor `[n, c, spatial…]`.
    fn add(&mut self, tensor: &Tensor) -> Result<(), MethodError> {
        let shape = tensor.shape();
        let values = tensor.to_f32_vec()?;
        let (Some(&n), Some(&channels)) = (shape.first(), shape.get(1)) else { return Ok(()) };
        let inner: usize = shape[2..].iter().product();
        let count = (n * inner) as f64;
        if count == 0.0 {
            return Ok(());
        }
        self.means.resize(channels, 0.0);
        self.squares.resize(channels, 0.0);
        for c in 0..channels {
            let parts = || (0..n).map(|i| &values[(i * channels + c) * inner..][..inner]);
            let (mut sum, mut squares) = (0.0, 0.0);
            for part in parts() {
                part.iter().for_each(|&x| sum += f64::from(x));
            }
            let mean = sum / count;
            for part in parts() {
                part.iter().for_each(|&x| squares += (f64::from(x) - mean).powi(2));
            }
            let delta = mean - self.means[c];
            let total = self.count + count;
            self.squares[c] += squares + delta * delta * self.count * count / total;
            self.means[c] += delta * count / total;
        }
        self.count += count;
        Ok(())
    }

    fn mean(&self) -> Vec<f64> {
        self.means.clone()
    }

    fn variance(&self) -> Vec<f64> {
        self.squares.iter().map(|squares| squares / self.count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_parts_are_moments_of_the_whole() {
        let values: Vec<f32> = (0..24).map(|i| ((i * 7) % 11) as f32 + 1000.0).collect();
        let mut whole = Moments::default();
        whole.add(&Tensor::new([4, 2, 3], values.clone()).unwrap()).unwrap();
        let mut parts = Moments::default();
        for part in values.chunks(6) {
            parts.add(&Tensor::new([1, 2, 3], part.to_vec()).unwrap()).unwrap();
        }
        for (a, b) in whole.variance().iter().zip(parts.variance()) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert!((whole.mean()[0] - parts.mean()[0]).abs() < 1e-9);
    }

    #[test]
    fn nothing_moves_when_nothing_changed() {
        let mut moments = Moments::default();
        moments.add(&Tensor::new([2, 1, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap()).unwrap();
        let (mean, variance) = moved(&[0.5], &[2.0], &moments, &moments);
        assert!((mean[0] - 0.5).abs() < 1e-12 && (variance[0] - 2.0).abs() < 1e-12);
    }
}
