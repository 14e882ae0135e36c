//! Stochastic gradient descent with momentum, as PyTorch has it: the decay joins the gradient, the rate scales the velocity.
//!
//! g ← g + decay · w; v ← momentum · v + g; w ← w − rate · (g + momentum · v) with Nesterov's look ahead, else w − rate · v.

use lissom_graph::{OpError, ValueId};
use serde::Deserialize;

use super::{
    Checked, Decay, Optimizer, OptimizerSpec, Slot, Updated, Wrong, below_one, descend, not_negative, parse, positive,
};
use crate::Nodes;

pub(super) const SPEC: OptimizerSpec = OptimizerSpec {
    name: "sgd",
    summary: "gradient descent with momentum, on request with Nesterov's look ahead",
    source: "Sutskever et al., ICML 2013",
    example: "learning_rate = 0.1\nmomentum = 0.9\nnesterov = true\nweight_decay = 5e-4",
    parse: parse::<Sgd>,
};

/// Settings of `sgd`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sgd {
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    /// Decay of biases.
    bias_decay: f64,
    /// Decay of the scales and biases of norms.
    norm_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        let (weight_decay, bias_decay, norm_decay) = (0.0, 0.0, 0.0);
        Self { learning_rate: 0.1, momentum: 0.9, nesterov: false, weight_decay, bias_decay, norm_decay }
    }
}

impl Checked for Sgd {
    fn check(&self) -> Result<(), Wrong> {
        positive("learning_rate", self.learning_rate)?;
        below_one("momentum", self.momentum)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(("nesterov", "needs momentum"));
        }
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("bias_decay", self.bias_decay)?;
        not_negative("norm_decay", self.norm_decay)
    }
}

impl Optimizer for Sgd {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn states(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["velocity"] }
    }

    fn update(&self, nodes: &mut Nodes<'_>, slot: &Slot<'_>, scalars: &[ValueId]) -> Result<Updated, OpError> {
        let decay = Decay { weight: self.weight_decay, bias: self.bias_decay, norm: self.norm_decay };
        let mut gradient = slot.gradient;
        let decay = decay.of(slot.parameter.group);
        if decay != 0.0 {
            let decayed = nodes.scaled(slot.weight, decay)?;
            gradient = nodes.add(gradient, decayed)?;
        }
        let mut states = Vec::new();
        let mut direction = gradient;
        if let [velocity] = slot.states[..] {
            let slowed = nodes.scaled(velocity, self.momentum)?;
            direction = nodes.add(slowed, gradient)?;
            states.push(direction);
            if self.nesterov {
                let ahead = nodes.scaled(direction, self.momentum)?;
                direction = nodes.add(gradient, ahead)?;
            }
        }
        Ok(Updated { weight: descend(nodes, slot.weight, scalars[0], direction)?, states })
    }
}
