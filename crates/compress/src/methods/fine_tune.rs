//! Trains the network, plainly: from where it is, or from nothing.
//!
//! With `keep_zeros` weights that are zero stay zero, so that what pruning took away stays away while the rest learns.
//! With `linear` the last layer alone is trained, on the features the others give.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::Tensor;
use lissom_train::{BatchNorm, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use crate::{Changes, Job, Method, MethodError, MethodSpec, training};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "fine_tune",
    summary: "train the network as [train] says; zeros may stay where they are, or the last layer alone learn",
    source: "after pruning: Han et al., NIPS 2015, arXiv:1506.02626",
    example: "keep_zeros = true",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        Ok(Box::new(settings.parse::<FineTune>()?))
    },
};

/// Settings of `fine_tune`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FineTune {
    /// Weights that are zero at first stay zero.
    keep_zeros: bool,
    /// Only the last layer learns; batch norms keep their statistics.
    linear: bool,
    /// Read by the recipe; named here so that it is no unknown key.
    #[serde(rename = "layers")]
    _layers: LayerFilter,
}

impl Method for FineTune {
    fn is_training(&self) -> bool {
        true
    }

    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        train(SPEC.name, (self.keep_zeros, self.linear), model, job)
    }
}

/// Trains plainly, with zeros that stay and all but the last layer fixed if asked for.
///
/// # Errors
/// As [`training::run`].
pub(super) fn train(
    method: &'static str,
    (keep_zeros, linear): (bool, bool),
    model: &mut Model,
    job: &Job<'_>,
) -> Result<Changes, MethodError> {
    let first = if linear { model.graph.layers().into_iter().last().map_or(0, |layer| layer.node) } else { 0 };
    // The last layer and what is added to it.
    let meant: Vec<String> = model.graph.nodes()[first..].iter().map(|node| node.name.clone()).collect();
    let is_meant = |node: &String| meant.contains(node);
    training::run_selected(method, &mut Technique { keep_zeros, linear }, model, job, |own| is_meant(&own.node))
}

/// What happens beside plain steps.
#[derive(Debug)]
struct Technique {
    keep_zeros: bool,
    linear: bool,
}

impl lissom_train::Technique for Technique {
    fn prepare(&mut self, _model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        options.step.masks |= self.keep_zeros;
        if self.linear {
            // The features stay what they are.
            options.forward.batch_norm = BatchNorm::Frozen;
            options.forward.dropout = false;
        }
        Ok(())
    }

    fn begin(&mut self, trainer: &mut Trainer, _batch: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        if self.keep_zeros { training::keep_zeros(trainer) } else { Ok(()) }
    }
}
