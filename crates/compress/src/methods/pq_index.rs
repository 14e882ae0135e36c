//! Pruning by the PQ index, SAP: how many weights go in each round follows from how unequal they have become.
//!
//! I = 1 − d^(1/q − 1/p) ‖w‖_p / ‖w‖_q over the d surviving weights of a unit bounds how many of them matter: m = d (1 + η)^(−q/(q−p)) (1 −
//! I)^(pq/(q−p)). After each round the share min(β, γ (1 − m/d)) of the survivors goes, the smallest, and the others go back to where they began, with the
//! norms, the biases, the learning rate and the optimizer. Published code keeps the best network of a round by test accuracy; here it is the
//! last. What counts are the weights of linear layers, the first and the classifier included.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::Tensor;
use lissom_train::{Due, Kept, Moment, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::masks::{Masks, Targets};
use crate::parts::restart::Rewinding;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "pq_index",
    summary: "train, prune as much as the inequality of the weights allows, rewind, again and again",
    source: "Diao et al., ICLR 2023, arXiv:2302.05601",
    example: "p = 0.5\nq = 1.0\nprunings = 5",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: PqIndex = settings.parse()?;
        if !(technique.p > 0.0 && technique.p < technique.q && technique.q.is_finite()) {
            return Err(settings.error_at("p", "must be more than 0 and less than `q`"));
        }
        if !(technique.eta >= 0.0 && technique.gamma > 0.0 && technique.gamma.is_finite()) {
            return Err(settings.error_at("gamma", "must be more than 0, and `eta` not negative"));
        }
        if !(technique.most > 0.0 && technique.most < 1.0) {
            return Err(settings.error_at("most", "must be more than 0 and less than 1"));
        }
        if technique.prunings == 0 {
            return Err(settings.error_at("prunings", "must be at least 1"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// What an index is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// All weights together.
    #[default]
    Network,
    /// Each layer.
    Layer,
    /// Each output channel.
    Neuron,
}

/// Settings of `pq_index`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PqIndex {
    #[serde(default = "p")]
    p: f64,
    #[serde(default = "q")]
    q: f64,
    /// η.
    #[serde(default)]
    eta: f64,
    /// γ: more than 1 prunes more than the bound allows.
    #[serde(default = "q")]
    gamma: f64,
    /// β: the most that goes in a round, as a share of the survivors.
    #[serde(default = "most")]
    most: f64,
    /// How often; there is one round more.
    prunings: u32,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    #[serde(skip)]
    rewinding: Rewinding,
}

fn p() -> f64 {
    0.5
}

fn q() -> f64 {
    1.0
}

fn most() -> f64 {
    0.9
}

/// The index of these weights, 0 if all are of one size; 0 of none.
fn index(weights: &[f32], p: f64, q: f64) -> f64 {
    if weights.is_empty() {
        return 0.0;
    }
    // Means rather than sums: the same, and it does not overflow.
    let mean = |power: f64| {
        let sum: f64 = weights.iter().map(|&w| f64::from(w.abs()).powf(power)).sum();
        (sum / weights.len() as f64).powf(1.0 / power)
    };
    let index = 1.0 - mean(p) / mean(q);
    if index.is_finite() { index.max(0.0) } else { 0.0 }
}

impl PqIndex {
    /// m, of d weights with this index.
    fn bound(&self, d: usize, index: f64) -> f64 {
        let (p, q) = (self.p, self.q);
        d as f64 * (1.0 + self.eta).powf(-q / (q - p)) * (1.0 - index).powf(p * q / (q - p))
    }

    /// How many of these surviving weights go.
    fn n_gone(&self, survivors: &[f32]) -> usize {
        let d = survivors.len();
        if d == 0 {
            return 0;
        }
        let m = self.bound(d, index(survivors, self.p, self.q)).ceil();
        let share = (self.gamma * (1.0 - m / d as f64)).clamp(0.0, self.most);
        (d as f64 * share) as usize
    }

    /// The weights of each unit, as positions in the targets.
    fn units(&self) -> Vec<Vec<(usize, usize)>> {
        let mut units: Vec<Vec<(usize, usize)>> = Vec::new();
        for (at, target) in self.targets.all.iter().enumerate() {
            let all = target.layout.indices.iter().map(|&index| (at, index));
            match self.scope {
                Scope::Network if at > 0 => units[0].extend(all),
                Scope::Network | Scope::Layer => units.push(all.collect()),
                Scope::Neuron => {
                    let rows = target.layout.indices.chunks(target.layout.n_cols.max(1));
                    units.extend(rows.map(|row| row.iter().map(|&index| (at, index)).collect()));
                }
            }
        }
        units
    }

    fn pruned(&self, weights: &[&[f32]], mut masks: Masks) -> Masks {
        for mut unit in self.units() {
            unit.retain(|&(at, index)| masks[at][index]);
            let survivors: Vec<f32> = unit.iter().map(|&(at, index)| weights[at][index]).collect();
            let n_gone = self.n_gone(&survivors);
            let size = |&(at, index): &(usize, usize)| weights[at][index].abs();
            if n_gone > 0 {
                unit.select_nth_unstable_by(n_gone - 1, |a, b| size(a).total_cmp(&size(b)).then(b.cmp(a)));
            }
            unit[..n_gone].iter().for_each(|&(at, index)| masks[at][index] = false);
        }
        masks
    }
}

impl Technique for PqIndex {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::to_mask(SPEC.name, model, &self.layers, options)?;
        self.rewinding = Rewinding::new(SPEC.name, options, self.prunings, 0)?;
        Ok(())
    }

    fn before_step(&mut self, trainer: &mut Trainer, at: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        if self.rewinding.begins(trainer, at).is_some() {
            let masks = self.pruned(&self.targets.weights(trainer)?, self.targets.masks_of(trainer)?);
            self.rewinding.rewind(&self.targets, trainer, &masks)?;
        }
        Ok(Due::Train)
    }

    fn metrics(&self, trainer: &Trainer) -> Vec<(String, f64)> {
        let (Ok(weights), Ok(masks)) = (self.targets.weights(trainer), self.targets.masks_of(trainer)) else {
            return Vec::new();
        };
        let pairs = weights.iter().zip(&masks).flat_map(|(weights, mask)| weights.iter().zip(mask));
        let survivors: Vec<f32> = pairs.filter(|(_, kept)| **kept).map(|(w, _)| *w).collect();
        vec![("pq_index".into(), index(&survivors, self.p, self.q))]
    }

    fn save(&self) -> Kept {
        self.rewinding.save()
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        self.rewinding.load(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn method(text: &str) -> PqIndex {
        Settings::from_toml("test", &format!("prunings = 1\n{text}")).unwrap().parse().unwrap()
    }

    #[test]
    fn indices_and_bounds_are_the_worked_ones() {
        let golden: [(&[f32], [f64; 4]); 4] = [
            (&[1.0, 2.0, 3.0, 4.0], [0.055586, 3.777657, 0.087129, 3.333333]),
            (&[2.0, 2.0, -2.0, 2.0], [0.0, 4.0, 0.0, 4.0]),
            (&[0.0, 0.0, 7.0, 0.0], [0.75, 1.0, 0.5, 1.0]),
            (&[0.1, 0.2, 0.4, 3.0], [0.338915, 2.644340, 0.390404, 1.486428]),
        ];
        let (half, two) = (method(""), method("p = 1.0\nq = 2.0"));
        for (weights, expected) in golden {
            let actual = [&half, &two].map(|method| {
                let index = index(weights, method.p, method.q);
                [index, method.bound(weights.len(), index)]
            });
            assert!(actual.concat().iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-5), "{actual:?}");
        }
        let slack = method("eta = 0.01");
        assert!((slack.bound(4, 0.338915) - 2.644340 / 1.01f64.powi(2)).abs() < 1e-5);
        assert_eq!((half.n_gone(&[0.1, 0.2, 0.4, 3.0]), half.n_gone(&[]), half.n_gone(&[1.0; 9])), (1, 0, 0));
    }

    proptest! {
        #[test]
        fn neither_scale_nor_cloning_changes_the_index(weights in prop::collection::vec(0.01f32..2.0, 1..20)) {
            let scaled: Vec<f32> = weights.iter().map(|w| w * 4.0).collect();
            let own = index(&weights, 0.5, 1.0);
            prop_assert!((own - index(&scaled, 0.5, 1.0)).abs() < 1e-6);
            prop_assert!((own - index(&weights.repeat(2), 0.5, 1.0)).abs() < 1e-6);
        }
    }
}
