//! LAMB: Adam's direction, its length brought to that of the weights, one tensor at a time.
//!
//! All gradients are divided by max(1, ‖g‖ / `clip_norm`); u = m̂ / (√v̂ + ε) + decay · w; r = ‖w‖ / ‖u‖, 1 where either norm is 0 and
//! for tensors that do not decay (biases, norms) or hold one number; w ← w − rate · r · u.

use lissom_graph::{Attributes, OpError, ValueId};
use serde::Deserialize;

use super::adamw::{adam_direction, correction};
use super::{
    Checked, Decay, Optimizer, OptimizerSpec, Slot, Updated, Wrong, below_one, descend, has_norm, not_negative, parse,
    positive, ratio_or_one,
};
use crate::Nodes;

pub(super) const SPEC: OptimizerSpec = OptimizerSpec {
    name: "lamb",
    summary: "Adam whose steps are in proportion to the size of each tensor, for large batches",
    source: "You et al., ICLR 2020, arXiv:1904.00962",
    example: "learning_rate = 1e-3\nweight_decay = 0.01",
    parse: parse::<Lamb>,
};

/// Settings of `lamb`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Lamb {
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    /// The norm of all gradients together is brought down to this.
    clip_norm: f64,
    /// The ratio is at most 1 (LAMBC).
    ratio_at_most_one: bool,
    weight_decay: f64,
    /// Decay of biases.
    bias_decay: f64,
    /// Decay of the scales and biases of norms.
    norm_decay: f64,
}

impl Default for Lamb {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            clip_norm: 1.0,
            ratio_at_most_one: false,
            weight_decay: 0.01,
            bias_decay: 0.0,
            norm_decay: 0.0,
        }
    }
}

impl Checked for Lamb {
    fn check(&self) -> Result<(), Wrong> {
        positive("learning_rate", self.learning_rate)?;
        below_one("beta1", self.beta1)?;
        below_one("beta2", self.beta2)?;
        positive("epsilon", self.epsilon)?;
        positive("clip_norm", self.clip_norm)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("bias_decay", self.bias_decay)?;
        not_negative("norm_decay", self.norm_decay)
    }
}

impl Optimizer for Lamb {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn states(&self) -> &'static [&'static str] {
        &["mean", "square"]
    }

    fn scalars(&self) -> &'static [&'static str] {
        &["learning_rate", "mean_correction", "square_correction"]
    }

    fn values(&self, step: u64, learning_rate: f64) -> Vec<f64> {
        vec![learning_rate, correction(self.beta1, step), correction(self.beta2, step)]
    }

    fn prepare(&self, nodes: &mut Nodes<'_>, gradients: Vec<ValueId>) -> Result<Vec<ValueId>, OpError> {
        let norm = nodes.global_norm(&gradients)?;
        let relative = nodes.scaled(norm, 1.0 / self.clip_norm)?;
        let one = nodes.number(1.0)?;
        let divisor = nodes.node("Max", &[one, relative], Attributes::new())?;
        gradients.into_iter().map(|gradient| nodes.div(gradient, divisor)).collect()
    }

    fn update(&self, nodes: &mut Nodes<'_>, slot: &Slot<'_>, scalars: &[ValueId]) -> Result<Updated, OpError> {
        let decay = Decay { weight: self.weight_decay, bias: self.bias_decay, norm: self.norm_decay };
        let decay = decay.of(slot.parameter.group);
        let betas = [self.beta1, self.beta2, self.epsilon];
        let [mean, square, mut direction] = adam_direction(nodes, slot, betas, [scalars[1], scalars[2]])?;
        let mut rate = scalars[0];
        if decay != 0.0 {
            let decayed = nodes.scaled(slot.weight, decay)?;
            direction = nodes.add(direction, decayed)?;
        }
        if decay != 0.0 && has_norm(slot.parameter) {
            let (weight_norm, norm) = (nodes.norm(slot.weight)?, nodes.norm(direction)?);
            let ratio = nodes.div(weight_norm, norm)?;
            let mut ratio = ratio_or_one(nodes, weight_norm, norm, ratio)?;
            if self.ratio_at_most_one {
                let one = nodes.number(1.0)?;
                ratio = nodes.node("Min", &[ratio, one], Attributes::new())?;
            }
            rate = nodes.mul(rate, ratio)?;
        }
        Ok(Updated { weight: descend(nodes, slot.weight, rate, direction)?, states: vec![mean, square] })
    }
}
