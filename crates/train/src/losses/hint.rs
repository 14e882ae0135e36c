//! Hints: hidden values follow a teacher's of the same shape, by the mean of the squared difference over all elements.

use lissom_graph::ValueId;
use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::{Loss, LossSpec, Network, Target, mean_square};
use crate::{Nodes, TrainError};

pub(super) const SPEC: LossSpec = LossSpec {
    name: "hint",
    summary: "hidden values follow those of a teacher, of the same shape",
    source: "Romero et al., ICLR 2015, arXiv:1412.6550",
    example: "values = [\"hidden\"]",
    parse: |settings: &Settings| -> Result<Box<dyn Loss>, SettingsError> {
        let loss: Hint = settings.parse()?;
        if loss.values.is_empty() {
            return Err(settings.error_at("values", "must name at least one value of the network"));
        }
        Ok(Box::new(loss))
    },
};

/// Settings of `hint`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    /// Names of values of the network being trained. The teacher's come as inputs `teacher.NAME`.
    values: Vec<String>,
}

impl Loss for Hint {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        let target = |name: &String| {
            let mut fact = network.fact(network.hidden(name)?).clone();
            fact.value = None;
            Ok(Target { name: format!("teacher.{name}"), fact })
        };
        self.values.iter().map(target).collect()
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError> {
        let mut terms = Vec::with_capacity(self.values.len());
        for (name, &teacher) in self.values.iter().zip(targets) {
            terms.push(mean_square(nodes, network.hidden(name)?, teacher)?);
        }
        nodes.total(&terms)?.ok_or(TrainError::NoLoss)
    }
}
