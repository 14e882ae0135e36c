//! Lion: only the sign of the momentum moves a weight.
//!
//! w ← (1 − rate · decay) w − rate · sign(β₁ m + (1 − β₁) g) with the old m, then m ← β₂ m + (1 − β₂) g. sign(0) = 0.

use lissom_graph::{OpError, ValueId};
use serde::Deserialize;

use super::{
    Checked, Decay, Optimizer, OptimizerSpec, Slot, Updated, Wrong, below_one, decayed, descend, mixed, not_negative,
    parse, positive,
};
use crate::Nodes;

pub(super) const SPEC: OptimizerSpec = OptimizerSpec {
    name: "lion",
    summary: "every weight moves by the same amount, in the direction of its momentum's sign",
    source: "Chen et al., NeurIPS 2023, arXiv:2302.06675",
    example: "learning_rate = 1e-4\nweight_decay = 1.0",
    parse: parse::<Lion>,
};

/// Settings of `lion`; the learning rate is a third to a tenth of AdamW's, the decay as much larger.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Lion {
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    weight_decay: f64,
    /// Decay of biases.
    bias_decay: f64,
    /// Decay of the scales and biases of norms.
    norm_decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        let (weight_decay, bias_decay, norm_decay) = (0.0, 0.0, 0.0);
        Self { learning_rate: 1e-4, beta1: 0.9, beta2: 0.99, weight_decay, bias_decay, norm_decay }
    }
}

impl Checked for Lion {
    fn check(&self) -> Result<(), Wrong> {
        positive("learning_rate", self.learning_rate)?;
        below_one("beta1", self.beta1)?;
        below_one("beta2", self.beta2)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("bias_decay", self.bias_decay)?;
        not_negative("norm_decay", self.norm_decay)
    }
}

impl Optimizer for Lion {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn states(&self) -> &'static [&'static str] {
        &["mean"]
    }

    fn scalars(&self) -> &'static [&'static str] {
        &["learning_rate", "weight_kept", "bias_kept", "norm_kept"]
    }

    fn values(&self, _step: u64, learning_rate: f64) -> Vec<f64> {
        let decay = Decay { weight: self.weight_decay, bias: self.bias_decay, norm: self.norm_decay };
        std::iter::once(learning_rate).chain(decay.kept(learning_rate)).collect()
    }

    fn update(&self, nodes: &mut Nodes<'_>, slot: &Slot<'_>, scalars: &[ValueId]) -> Result<Updated, OpError> {
        let mean = slot.states[0];
        let direction = mixed(nodes, self.beta1, mean, slot.gradient)?;
        let direction = nodes.sign(direction)?;
        let kept = decayed(nodes, slot, &scalars[1..])?;
        let weight = descend(nodes, kept, scalars[0], direction)?;
        Ok(Updated { weight, states: vec![mixed(nodes, self.beta2, mean, slot.gradient)?] })
    }
}
