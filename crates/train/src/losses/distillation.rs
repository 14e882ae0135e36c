//! Hinton's distillation: the student's softened answers follow a teacher's.
//!
//! (1 − a) · cross-entropy with the labels + a · T² · mean KL(softmax(teacher / T) ‖ softmax(student / T)). T² keeps the gradient's size
//! whatever the temperature; the mean is over the batch, never over the classes.

use lissom_graph::{Attributes, Fact, ValueId};
use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::cross_entropy::{CrossEntropy, Kind};
use super::{Loss, LossSpec, Network, Target, log_softmax, minus_mean_dot};
use crate::{Nodes, TrainError};

pub(super) const SPEC: LossSpec = LossSpec {
    name: "distillation",
    summary: "follow a teacher's softened answers, and the labels a little",
    source: "Hinton et al. 2015, arXiv:1503.02531",
    example: "temperature = 4.0\nteacher_share = 0.9",
    parse: |settings: &Settings| -> Result<Box<dyn Loss>, SettingsError> {
        let loss: Distillation = settings.parse()?;
        if !(loss.temperature > 0.0 && loss.temperature.is_finite()) {
            return Err(settings.error_at("temperature", "must be more than 0"));
        }
        if !(0.0..=1.0).contains(&loss.teacher_share) {
            return Err(settings.error_at("teacher_share", "must be between 0 and 1"));
        }
        Ok(Box::new(loss))
    },
};

/// Settings of `distillation`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Distillation {
    temperature: f64,
    /// a; at 1 no labels are needed.
    teacher_share: f64,
    /// What else than the teacher the scores are compared with.
    targets: Kind,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { temperature: 4.0, teacher_share: 0.9, targets: Kind::Labels }
    }
}

impl Distillation {
    fn hard(&self) -> CrossEntropy {
        CrossEntropy { targets: self.targets, ..CrossEntropy::default() }
    }
}

impl Loss for Distillation {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    /// `teacher.scores`, shaped as the student's, and `labels` or `probabilities` unless the teacher has all the share.
    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        let (shape, _) = network.classes(SPEC.name)?;
        let fact = Fact::maybe(network.fact(network.scores).dtype, Some(shape));
        let mut targets = vec![Target { name: "teacher.scores".into(), fact }];
        if self.teacher_share < 1.0 {
            targets.extend(self.hard().targets(network)?);
        }
        Ok(targets)
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError> {
        let teacher = nodes.scaled(targets[0], 1.0 / self.temperature)?;
        let teacher = log_softmax(nodes, teacher)?;
        let probabilities = nodes.node("Exp", &[teacher], Attributes::new())?;
        let student = nodes.scaled(network.scores, 1.0 / self.temperature)?;
        let student = log_softmax(nodes, student)?;
        let difference = nodes.sub(student, teacher)?;
        let divergence = minus_mean_dot(nodes, probabilities, difference)?;
        let mut loss = nodes.scaled(divergence, self.teacher_share * self.temperature * self.temperature)?;
        if let [_, labels] = *targets {
            let hard = self.hard().build(nodes, network, &[labels])?;
            let hard = nodes.scaled(hard, 1.0 - self.teacher_share)?;
            loss = nodes.add(loss, hard)?;
        }
        Ok(loss)
    }
}
