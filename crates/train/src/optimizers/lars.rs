//! LARS: momentum whose rate is in proportion to each tensor's size over its gradient's.
//!
//! u = g + decay · w; r = trust · ‖w‖ / (‖g‖ + decay · ‖w‖ + 10⁻⁹) for weights, and 1 for biases and norms, tensors of one number and
//! where a norm is 0 (a tensor of zeros would never move); v ← momentum · v + rate · r · u; w ← w − v.

use lissom_graph::{OpError, ValueId};
use serde::Deserialize;

use super::{
    Checked, Decay, Optimizer, OptimizerSpec, Slot, Updated, Wrong, below_one, has_norm, not_negative, parse, positive,
    ratio_or_one,
};
use crate::{Group, Nodes};

pub(super) const SPEC: OptimizerSpec = OptimizerSpec {
    name: "lars",
    summary: "momentum with a rate for each tensor in proportion to its size, for large batches",
    source: "You et al. 2017, arXiv:1708.03888",
    example: "learning_rate = 1.0\nmomentum = 0.9\nweight_decay = 5e-4",
    parse: parse::<Lars>,
};

/// Settings of `lars`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Lars {
    learning_rate: f64,
    momentum: f64,
    /// Share of a tensor's norm that a step at rate 1 moves.
    trust: f64,
    weight_decay: f64,
    /// Decay of biases.
    bias_decay: f64,
    /// Decay of the scales and biases of norms.
    norm_decay: f64,
}

impl Default for Lars {
    fn default() -> Self {
        let (weight_decay, bias_decay, norm_decay) = (5e-4, 0.0, 0.0);
        Self { learning_rate: 1.0, momentum: 0.9, trust: 1e-3, weight_decay, bias_decay, norm_decay }
    }
}

impl Checked for Lars {
    fn check(&self) -> Result<(), Wrong> {
        positive("learning_rate", self.learning_rate)?;
        below_one("momentum", self.momentum)?;
        positive("trust", self.trust)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("bias_decay", self.bias_decay)?;
        not_negative("norm_decay", self.norm_decay)
    }
}

impl Optimizer for Lars {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn states(&self) -> &'static [&'static str] {
        &["velocity"]
    }

    fn update(&self, nodes: &mut Nodes<'_>, slot: &Slot<'_>, scalars: &[ValueId]) -> Result<Updated, OpError> {
        let decay = Decay { weight: self.weight_decay, bias: self.bias_decay, norm: self.norm_decay };
        let decay = decay.of(slot.parameter.group);
        let mut direction = slot.gradient;
        if decay != 0.0 {
            let decayed = nodes.scaled(slot.weight, decay)?;
            direction = nodes.add(direction, decayed)?;
        }
        let mut rate = scalars[0];
        if slot.parameter.group == Group::Weight && has_norm(slot.parameter) {
            let (weight_norm, norm) = (nodes.norm(slot.weight)?, nodes.norm(slot.gradient)?);
            let decayed = nodes.scaled(weight_norm, decay)?;
            let divisor = nodes.add(norm, decayed)?;
            let divisor = nodes.shifted(divisor, 1e-9)?;
            let trusted = nodes.scaled(weight_norm, self.trust)?;
            let ratio = nodes.div(trusted, divisor)?;
            let ratio = ratio_or_one(nodes, weight_norm, norm, ratio)?;
            rate = nodes.mul(rate, ratio)?;
        }
        let change = nodes.mul(direction, rate)?;
        let slowed = nodes.scaled(slot.states[0], self.momentum)?;
        let velocity = nodes.add(slowed, change)?;
        Ok(Updated { weight: nodes.sub(slot.weight, velocity)?, states: vec![velocity] })
    }
}
