//! Adam with the decay apart from the gradient.
//!
//! m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; w ← (1 − rate · decay) w − rate · m̂ / (√v̂ + ε), where m̂ = m / (1 − β₁ᵗ) and
//! v̂ = v / (1 − β₂ᵗ).

use lissom_graph::{OpError, ValueId};
use serde::Deserialize;

use super::{
    Checked, Decay, Optimizer, OptimizerSpec, Slot, Updated, Wrong, below_one, decayed, descend, mixed, not_negative,
    parse, positive,
};
use crate::Nodes;

pub(super) const SPEC: OptimizerSpec = OptimizerSpec {
    name: "adamw",
    summary: "Adam: each weight's step is scaled by the size of its recent gradients; decay is apart from them",
    source: "Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101",
    example: "learning_rate = 1e-3\nweight_decay = 0.05",
    parse: parse::<AdamW>,
};

/// Settings of `adamw`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AdamW {
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    /// Decay of biases.
    bias_decay: f64,
    /// Decay of the scales and biases of norms.
    norm_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        let (weight_decay, bias_decay, norm_decay) = (0.01, 0.0, 0.0);
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay, bias_decay, norm_decay }
    }
}

impl Checked for AdamW {
    fn check(&self) -> Result<(), Wrong> {
        positive("learning_rate", self.learning_rate)?;
        below_one("beta1", self.beta1)?;
        below_one("beta2", self.beta2)?;
        positive("epsilon", self.epsilon)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("bias_decay", self.bias_decay)?;
        not_negative("norm_decay", self.norm_decay)
    }
}

/// m, v and m̂ / (√v̂ + ε). `corrections` are 1 / (1 − β₁ᵗ) and 1 / (1 − β₂ᵗ).
pub(super) fn adam_direction(
    nodes: &mut Nodes<'_>,
    slot: &Slot<'_>,
    [beta1, beta2, epsilon]: [f64; 3],
    corrections: [ValueId; 2],
) -> Result<[ValueId; 3], OpError> {
    let mean = mixed(nodes, beta1, slot.states[0], slot.gradient)?;
    let squared = nodes.mul(slot.gradient, slot.gradient)?;
    let square = mixed(nodes, beta2, slot.states[1], squared)?;
    let unbiased = nodes.mul(square, corrections[1])?;
    let root = nodes.sqrt(unbiased)?;
    let divisor = nodes.shifted(root, epsilon)?;
    let numerator = nodes.mul(mean, corrections[0])?;
    Ok([mean, square, nodes.div(numerator, divisor)?])
}

/// 1 / (1 − βᵗ).
pub(super) fn correction(beta: f64, step: u64) -> f64 {
    1.0 / (1.0 - beta.powf(step as f64))
}

impl Optimizer for AdamW {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn states(&self) -> &'static [&'static str] {
        &["mean", "square"]
    }

    fn scalars(&self) -> &'static [&'static str] {
        &["learning_rate", "mean_correction", "square_correction", "weight_kept", "bias_kept", "norm_kept"]
    }

    fn values(&self, step: u64, learning_rate: f64) -> Vec<f64> {
        let decay = Decay { weight: self.weight_decay, bias: self.bias_decay, norm: self.norm_decay };
        let mut values = vec![learning_rate, correction(self.beta1, step), correction(self.beta2, step)];
        values.extend(decay.kept(learning_rate));
        values
    }

    fn update(&self, nodes: &mut Nodes<'_>, slot: &Slot<'_>, scalars: &[ValueId]) -> Result<Updated, OpError> {
        let betas = [self.beta1, self.beta2, self.epsilon];
        let [mean, square, direction] = adam_direction(nodes, slot, betas, [scalars[1], scalars[2]])?;
        let kept = decayed(nodes, slot, &scalars[3..])?;
        Ok(Updated { weight: descend(nodes, kept, scalars[0], direction)?, states: vec![mean, square] })
    }
}
