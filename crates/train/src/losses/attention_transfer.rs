//! Attention transfer: where a student looks follows where its teacher looks.
//!
//! The map of a value is Q = Σ_channels |h|ᵖ, brought to length 1 for each sample; the loss is the mean over batch and positions of
//! (Q_student − Q_teacher)², summed over the named values. Published losses weigh it by about 1000.

use lissom_graph::{Attributes, Dim, Fact, ValueId};
use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::{Loss, LossSpec, Network, Target, mean_square};
use crate::{Nodes, TrainError};

pub(super) const SPEC: LossSpec = LossSpec {
    name: "attention_transfer",
    summary: "maps of activity follow those of a teacher, which may have other channels",
    source: "Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928",
    example: "values = [\"hidden\"]",
    parse: |settings: &Settings| -> Result<Box<dyn Loss>, SettingsError> {
        let loss: AttentionTransfer = settings.parse()?;
        if loss.values.is_empty() {
            return Err(settings.error_at("values", "must name at least one value of the network"));
        }
        if !(loss.power >= 1.0 && loss.power.is_finite()) {
            return Err(settings.error_at("power", "must be at least 1"));
        }
        Ok(Box::new(loss))
    },
};

/// Settings of `attention_transfer`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttentionTransfer {
    /// Names of values of the network being trained, `[n, channels, …]`. The teacher's come as inputs `teacher.NAME`.
    values: Vec<String>,
    /// p.
    #[serde(default = "power")]
    power: f64,
}

fn power() -> f64 {
    2.0
}

impl AttentionTransfer {
    /// Q of `[n, channels, …]` with `rank` axes, each sample's of length 1.
    fn map(&self, nodes: &mut Nodes<'_>, hidden: ValueId, rank: usize) -> Result<ValueId, TrainError> {
        let raised = if self.power == 2.0 {
            nodes.mul(hidden, hidden)?
        } else {
            let size = nodes.abs(hidden)?;
            let power = nodes.number(self.power)?;
            nodes.node("Pow", &[size, power], Attributes::new())?
        };
        let map = nodes.reduce("ReduceSum", raised, &[1], false)?;
        let squares = nodes.mul(map, map)?;
        let axes: Vec<i64> = (1..rank as i64 - 1).collect();
        let square = nodes.reduce("ReduceSum", squares, &axes, true)?;
        let square = nodes.shifted(square, 1e-12)?;
        let length = nodes.sqrt(square)?;
        Ok(nodes.div(map, length)?)
    }

    fn hidden(&self, network: &Network<'_>, name: &str) -> Result<(ValueId, Vec<Dim>), TrainError> {
        let value = network.hidden(name)?;
        let fact = network.fact(value);
        match &fact.shape {
            Some(shape) if shape.len() > 2 => Ok((value, shape.clone())),
            _ => Err(TrainError::Shape {
                loss: SPEC.name,
                value: name.to_owned(),
                expected: "a batch, channels and at least one axis of positions",
                fact: fact.to_string(),
            }),
        }
    }
}

impl Loss for AttentionTransfer {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        let target = |name: &String| {
            let (value, mut shape) = self.hidden(network, name)?;
            shape[1] = Dim::symbol(format!("teacher.{name}.channels"));
            let fact = Fact::maybe(network.fact(value).dtype, Some(shape));
            Ok(Target { name: format!("teacher.{name}"), fact })
        };
        self.values.iter().map(target).collect()
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError> {
        let mut terms = Vec::with_capacity(self.values.len());
        for (name, &teacher) in self.values.iter().zip(targets) {
            let (value, shape) = self.hidden(network, name)?;
            let student = self.map(nodes, value, shape.len())?;
            let teacher = self.map(nodes, teacher, shape.len())?;
            terms.push(mean_square(nodes, student, teacher)?);
        }
        nodes.total(&terms)?.ok_or(TrainError::NoLoss)
    }
}
