//! Class-dependent compression: iterative pruning that looks after one class, whose samples are not to be missed.
//!
//! The loss weighs that class more, and pushes its samples above the hardest one of the others: −mean Σ ω_c y_c log p_c + λ L_R with L_R = Σ_P
//! min(0, s_i − a)² / (|P| + 1), s the probability of the class, P its samples in the batch and a the highest s of the others. (In the
//! published repository L_R is multiplied by 0; the loss is that of the paper.) After each round the share `share` of every layer's surviving weights goes,
//! those whose magnitude grew least since the beginning, |θ| − |θ₀|; the others go back to where they began. The published code prunes biases too; here the
//! weights of linear layers, the first and the classifier included. It replaces the losses that `[train]` names.

use lissom_graph::{Attributes, Fact, Model, ValueId};
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::{DType, Tensor, Weight};
use lissom_train::{
    Due, Kept, Loss, Moment, Network, Nodes, Objective, Target, Technique, TrainError, Trainer, TrainerOptions,
};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::masks::{Masks, Targets};
use crate::parts::restart::Rewinding;
use crate::parts::select::{Ties, border};
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "class_dependent",
    summary: "prune and rewind in rounds while one class is looked after: its samples are not to be missed",
    source: "Entezari & Saukh, SenSys-ML 2020, arXiv:1909.10364",
    example: "class = 1\nweight = 2.0\nprunings = 4",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: ClassDependent = settings.parse()?;
        if !(technique.share > 0.0 && technique.share < 1.0) {
            return Err(settings.error_at("share", "must be more than 0 and less than 1"));
        }
        if !(technique.weight > 0.0 && technique.weight.is_finite()) {
            return Err(settings.error_at("weight", "must be more than 0"));
        }
        if !(technique.ranking >= 0.0 && technique.ranking.is_finite()) {
            return Err(settings.error_at("ranking", "must not be negative"));
        }
        if technique.prunings == 0 {
            return Err(settings.error_at("prunings", "must be at least 1"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `class_dependent`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassDependent {
    /// The class that is looked after, from 0.
    class: usize,
    /// ω of that class; the others have 1.
    #[serde(default = "one")]
    weight: f64,
    /// λ.
    #[serde(default = "one")]
    ranking: f64,
    /// Share of each layer's surviving weights that goes in a round.
    #[serde(default = "half")]
    share: f64,
    /// How often; there is one round more.
    prunings: u32,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    #[serde(skip)]
    rewinding: Rewinding,
}

fn one() -> f64 {
    1.0
}

fn half() -> f64 {
    0.5
}

/// Which weights stay of those that are there: not those whose magnitude grew least.
fn survivors(now: &[f32], before: &[f32], mask: &[bool], share: f64) -> Vec<bool> {
    let pairs = now.iter().zip(before).zip(mask);
    let grown =
        |((now, before), &kept): ((&f32, &f32), &bool)| if kept { now.abs() - before.abs() } else { f32::NEG_INFINITY };
    let grown: Vec<f32> = pairs.map(grown).collect();
    let there = mask.iter().filter(|&&kept| kept).count();
    let keep = (there - (there as f64 * share) as usize).max(there.min(1));
    border(&[&grown], keep, |w| w).mask(&grown, Ties::Exact, |w| w)
}

impl Technique for ClassDependent {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::to_mask(SPEC.name, model, &self.layers, options)?;
        self.rewinding = Rewinding::new(SPEC.name, options, self.prunings, 0)?;
        let weighted = Weighted { class: self.class, weight: self.weight };
        let mut terms: Vec<(f64, Box<dyn Loss>)> = vec![(1.0, Box::new(weighted))];
        if self.ranking > 0.0 {
            terms.push((self.ranking, Box::new(Ranking { class: self.class })));
        }
        options.objective = Objective { terms };
        Ok(())
    }

    fn before_step(&mut self, trainer: &mut Trainer, at: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        if self.rewinding.begins(trainer, at).is_some() {
            let (now, before) =
                (self.targets.weights(trainer)?, self.targets.slices(|name| self.rewinding.early.get(name))?);
            let old = self.targets.masks_of(trainer)?;
            let mask = |i: usize| survivors(now[i], before[i], &old[i], self.share);
            let masks: Masks = (0..old.len()).map(mask).collect();
            self.rewinding.rewind(&self.targets, trainer, &masks)?;
        }
        Ok(Due::Train)
    }

    fn save(&self) -> Kept {
        self.rewinding.save()
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        self.rewinding.load(kept);
        Ok(())
    }
}

/// The scores' classes, and `labels` to compare them with.
fn labels(loss: &'static str, class: usize, network: &Network<'_>) -> Result<(usize, Target), TrainError> {
    let value = network.graph.value(network.scores);
    let mut shape = value.fact.shape.clone().unwrap_or_default();
    match shape.pop().and_then(|length| length.known()) {
        Some(classes) if shape.len() == 1 && class < classes => {
            Ok((classes, Target { name: "labels".into(), fact: Fact::new(DType::I64, shape) }))
        }
        _ => Err(TrainError::Shape {
            loss,
            value: value.name.clone(),
            expected: "a batch and more classes than the number of the one that is looked after",
            fact: value.fact.to_string(),
        }),
    }
}

/// Cross-entropy in which one class weighs more.
#[derive(Debug)]
struct Weighted {
    class: usize,
    weight: f64,
}

impl Loss for Weighted {
    fn name(&self) -> &'static str {
        "weighted_cross_entropy"
    }

    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        Ok(vec![labels(self.name(), self.class, network)?.1])
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError> {
        let (classes, _) = labels(self.name(), self.class, network)?;
        let weights: Vec<f64> = (0..classes).map(|c| if c == self.class { self.weight } else { 1.0 }).collect();
        let weights = Weight::Dense(lissom_train::floats(nodes.dtype, &[classes], &weights)?);
        let weights = nodes.patch.constant("train_class_weights", weights);
        let chosen = one_hot(nodes, targets[0], classes)?;
        let chosen = nodes.mul(chosen, weights)?;
        let logs = nodes.node("LogSoftmax", &[network.scores], Attributes::new().with("axis", -1i64))?;
        let products = nodes.mul(chosen, logs)?;
        let rows = nodes.reduce("ReduceSum", products, &[-1], false)?;
        let mean = nodes.reduce("ReduceMean", rows, &[], false)?;
        Ok(nodes.scaled(mean, -1.0)?)
    }
}

fn one_hot(nodes: &mut Nodes<'_>, labels: ValueId, classes: usize) -> Result<ValueId, TrainError> {
    let depth = nodes.patch.constant("train_classes", Weight::Dense(Tensor::scalar(classes as i64)));
    let values = Weight::Dense(lissom_train::floats(nodes.dtype, &[2], &[0.0, 1.0])?);
    let values = nodes.patch.constant("train_label_values", values);
    Ok(nodes.node("OneHot", &[labels, depth, values], Attributes::new())?)
}

/// How far samples of the class lie below the hardest one of the others.
#[derive(Debug)]
struct Ranking {
    class: usize,
}

impl Loss for Ranking {
    fn name(&self) -> &'static str {
        "ranking"
    }

    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        Ok(vec![labels(self.name(), self.class, network)?.1])
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError> {
        let (classes, _) = labels(self.name(), self.class, network)?;
        let column: Vec<f64> = (0..classes).map(|c| f64::from(u8::from(c == self.class))).collect();
        let column = Weight::Dense(lissom_train::floats(nodes.dtype, &[classes], &column)?);
        let column = nodes.patch.constant("train_class", column);
        let of_class = |nodes: &mut Nodes<'_>, rows: ValueId| -> Result<ValueId, TrainError> {
            let own = nodes.mul(rows, column)?;
            Ok(nodes.reduce("ReduceSum", own, &[-1], false)?)
        };
        let shares = nodes.node("Softmax", &[network.scores], Attributes::new().with("axis", -1i64))?;
        let s = of_class(nodes, shares)?;
        let chosen = one_hot(nodes, targets[0], classes)?;
        let is_own = of_class(nodes, chosen)?;
        let one = nodes.number(1.0)?;
        let is_other = nodes.sub(one, is_own)?;
        let others = nodes.mul(s, is_other)?;
        let hardest = nodes.reduce("ReduceMax", others, &[0], true)?;
        let below = nodes.sub(hardest, s)?;
        let below = nodes.node("Relu", &[below], Attributes::new())?;
        let squares = nodes.mul(below, below)?;
        let squares = nodes.mul(squares, is_own)?;
        let total = nodes.reduce("ReduceSum", squares, &[], false)?;
        let count = nodes.reduce("ReduceSum", is_own, &[], false)?;
        let count = nodes.shifted(count, 1.0)?;
        Ok(nodes.div(total, count)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::training_tests::loss_of;
    use super::*;

    #[test]
    fn the_ranking_loss_is_the_worked_one() {
        // Probabilities of class 1: positives 0.2 and 0.9, negatives 0.5 and 0.1; a = 0.5: 0.3² / 3.
        let scores: Vec<f32> = [0.2f32, 0.9, 0.5, 0.1].iter().flat_map(|s| [(1.0 - s).ln(), s.ln()]).collect();
        let loss = loss_of(Box::new(Ranking { class: 1 }), &scores, &[1, 1, 0, 0]);
        assert!((loss - 0.03).abs() < 1e-6, "{loss}");
        let weighted = loss_of(Box::new(Weighted { class: 1, weight: 2.0 }), &scores, &[1, 1, 0, 0]);
        let expected = -(2.0 * (0.2f64.ln() + 0.9f64.ln()) + 0.5f64.ln() + 0.9f64.ln()) / 4.0;
        assert!((weighted - expected).abs() < 1e-6, "{weighted} {expected}");
    }

    #[test]
    fn what_grew_least_goes_first() {
        let mask = survivors(&[1.0, -3.0, 0.1, 5.0], &[0.5, -2.9, 0.2, 9.0], &[true, true, true, false], 0.5);
        assert_eq!(mask, [true, true, false, false]);
    }
}
