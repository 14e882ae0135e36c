//! Cross-entropy of the softmax of the scores with labels, or with probabilities (mixed images, a teacher's answers).
//!
//! −mean Σ_c q_c log p_c with q = (1 − s) · target + s / C, s the smoothing and C the number of classes; the mean is over the batch
//! and, where there are any, the positions of each sample.

use lissom_graph::{Attributes, Fact, ValueId};
use lissom_recipe::{Settings, SettingsError};
use lissom_tensor::{DType, Tensor, Weight};
use serde::Deserialize;

use super::{Loss, LossSpec, Network, Target, log_softmax, minus_mean_dot};
use crate::{Nodes, TrainError, floats};

pub(super) const SPEC: LossSpec = LossSpec {
    name: "cross_entropy",
    summary: "minus the logarithm of the probability of the right class, labels smoothed on request",
    source: "smoothing: Szegedy et al., CVPR 2016, arXiv:1512.00567",
    example: "label_smoothing = 0.1",
    parse: |settings: &Settings| -> Result<Box<dyn Loss>, SettingsError> {
        let loss: CrossEntropy = settings.parse()?;
        if !(0.0..1.0).contains(&loss.label_smoothing) {
            return Err(settings.error_at("label_smoothing", "must be at least 0 and less than 1"));
        }
        Ok(Box::new(loss))
    },
};

/// Settings of `cross_entropy`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CrossEntropy {
    /// Share of the target that is spread over all classes.
    pub(super) label_smoothing: f64,
    pub(super) targets: Kind,
}

/// What the scores are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// `labels`: the number of the right class, i64, shaped as the scores without their last axis.
    #[default]
    Labels,
    /// `probabilities`: shaped as the scores.
    Probabilities,
}

impl Loss for CrossEntropy {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        let (mut shape, _) = network.classes(SPEC.name)?;
        Ok(vec![match self.targets {
            Kind::Labels => {
                shape.pop();
                Target { name: "labels".into(), fact: Fact::new(DType::I64, shape) }
            }
            Kind::Probabilities => Target {
                name: "probabilities".into(),
                fact: Fact::maybe(network.fact(network.scores).dtype, Some(shape)),
            },
        }])
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError> {
        let (shape, n_classes) = network.classes(SPEC.name)?;
        if self.targets == Kind::Labels && self.label_smoothing == 0.0 && shape.len() == 2 {
            let both = [network.scores, targets[0]];
            return Ok(nodes.node("SoftmaxCrossEntropyLoss", &both, Attributes::new().with("reduction", "mean"))?);
        }
        let spread = self.label_smoothing / n_classes as f64;
        let kept = 1.0 - self.label_smoothing;
        let wanted = match self.targets {
            Kind::Labels => {
                let depth = Weight::Dense(Tensor::scalar(n_classes as i64));
                let depth = nodes.patch.constant("train_classes", depth);
                let values = Weight::Dense(floats(nodes.dtype, &[2], &[spread, kept + spread])?);
                let values = nodes.patch.constant("train_label_values", values);
                nodes.node("OneHot", &[targets[0], depth, values], Attributes::new())?
            }
            Kind::Probabilities if self.label_smoothing > 0.0 => {
                let scaled = nodes.scaled(targets[0], kept)?;
                nodes.shifted(scaled, spread)?
            }
            Kind::Probabilities => targets[0],
        };
        let log_probabilities = log_softmax(nodes, network.scores)?;
        minus_mean_dot(nodes, wanted, log_probabilities)
    }
}
