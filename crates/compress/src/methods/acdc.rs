//! AC/DC: the network trains in turn with a mask and without one, and ends as a sparse network beside a dense one.
//!
//! A sparse phase begins with the largest weights (all others zero) and trains those; a dense phase lets the others grow again from zero, with
//! everything the optimizer keeps set to zero. The sparsity is the whole target from the first sparse phase on. What counts are the
//! weights of linear layers, the first and the classifier included; biases, norms and embeddings are never pruned.
//!
//! The published code keeps what is strictly above the border, one weight less than asked for at least: `ties = "strict"`.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError, Sparsity};
use lissom_tensor::{Tensor, Weight};
use lissom_train::{Due, Kept, Moment, Named, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::{Rule, Targets};
use crate::parts::select::Ties;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "acdc",
    summary: "train in turn with and without a mask: a sparse network, and a dense one beside it",
    source: "Peste et al., NeurIPS 2021, arXiv:2106.12379",
    example: "sparsity = 0.9\nwarm_up = 10\nsparse = 5\ndense = 5\nfinal = 15",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: AcDc = settings.parse()?;
        Rule::new(&technique.sparsity, technique.allocate, technique.ties).check(settings)?;
        let lists = technique.sparse_at.len() + technique.dense_at.len();
        let lengths = [technique.warm_up, technique.sparse, technique.dense, technique.last];
        if lists > 0 && lengths.iter().any(Option::is_some) {
            return Err(settings.error_at("sparse_at", "give either lists of epochs or lengths of phases"));
        }
        for (key, length) in [("sparse", technique.sparse), ("dense", technique.dense), ("final", technique.last)] {
            if length == Some(0) {
                return Err(settings.error_at(key, "must be at least 1 epoch"));
            }
        }
        if lists > 0 && technique.sparse_at.iter().max() <= technique.dense_at.iter().max() {
            return Err(settings.error_at("sparse_at", "the last phase must be a sparse one"));
        }
        if let Some(both) = technique.sparse_at.iter().find(|epoch| technique.dense_at.contains(epoch)) {
            return Err(settings.error_at("dense_at", format!("epoch {both} is in both lists")));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `acdc`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcDc {
    sparsity: Sparsity,
    /// Epochs, from 0, in which a sparse phase begins.
    #[serde(default)]
    sparse_at: Vec<u64>,
    /// Epochs in which a dense phase begins.
    #[serde(default)]
    dense_at: Vec<u64>,
    /// Dense epochs at the beginning; a tenth of the training unless said.
    warm_up: Option<u64>,
    /// Epochs of a sparse phase; a twentieth.
    sparse: Option<u64>,
    /// Epochs of a dense phase; a twentieth. The last one takes what is left over.
    dense: Option<u64>,
    /// Sparse epochs at the end; three twentieths.
    #[serde(rename = "final")]
    last: Option<u64>,
    #[serde(default)]
    allocate: Allocate,
    #[serde(default)]
    ties: Ties,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    /// The network at the end of the last dense phase.
    #[serde(skip)]
    dense_network: Named,
}

/// What begins with an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Sparse,
    Dense,
}

impl AcDc {
    /// The epochs in which a phase begins, in order.
    fn phases(&self, epochs: u64) -> Vec<(u64, Phase)> {
        let mut phases: Vec<(u64, Phase)> = Vec::new();
        if !self.sparse_at.is_empty() {
            phases.extend(self.sparse_at.iter().map(|&epoch| (epoch, Phase::Sparse)));
            phases.extend(self.dense_at.iter().map(|&epoch| (epoch, Phase::Dense)));
            phases.sort_by_key(|(epoch, _)| *epoch);
            return phases;
        }
        let share = |length: Option<u64>, share: f64| length.unwrap_or((epochs as f64 * share).round() as u64);
        let (sparse, dense) = (share(self.sparse, 0.05).max(1), share(self.dense, 0.05).max(1));
        let last = epochs.saturating_sub(share(self.last, 0.15).max(1));
        let mut epoch = share(self.warm_up, 0.1).min(last);
        while epoch + sparse + dense <= last {
            phases.push((epoch, Phase::Sparse));
            phases.push((epoch + sparse, Phase::Dense));
            epoch += sparse + dense;
        }
        phases.push((last, Phase::Sparse));
        phases
    }
}

impl Technique for AcDc {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::to_mask(SPEC.name, model, &self.layers, options)?;
        Ok(())
    }

    fn before_step(&mut self, trainer: &mut Trainer, at: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        if !at.begins_epoch() {
            return Ok(Due::Train);
        }
        let phases = self.phases(at.epochs);
        let before = phases.iter().rev().find(|(epoch, _)| *epoch < at.epoch).map_or(Phase::Dense, |(_, phase)| *phase);
        match phases.iter().find(|(epoch, _)| *epoch == at.epoch) {
            Some((_, Phase::Sparse)) => {
                if before == Phase::Dense {
                    self.dense_network = trainer.network();
                }
                let rule = Rule::new(&self.sparsity, self.allocate, self.ties);
                self.targets.prune(trainer, &rule, self.sparsity.fraction())?;
            }
            Some((_, Phase::Dense)) => {
                self.targets.clear_masks(trainer)?;
                trainer.clear_states()?;
            }
            None => {}
        }
        Ok(Due::Train)
    }

    fn others(&self, trainer: &Trainer) -> Vec<(String, Model)> {
        if self.dense_network.is_empty() {
            return Vec::new();
        }
        let mut model = trainer.model();
        for (name, tensor) in &self.dense_network {
            if let Some(value) = model.graph.find_value(name) {
                model.graph.set_constant(value, Weight::Dense(tensor.clone()));
            }
        }
        vec![("dense".into(), model)]
    }

    fn save(&self) -> Kept {
        Kept { tensors: self.dense_network.clone(), ..Kept::default() }
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        self.dense_network = kept.tensors.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(text: &str, epochs: u64) -> String {
        let settings = Settings::from_toml("test", &format!("sparsity = 0.9\n{text}")).unwrap();
        let technique: AcDc = settings.parse().unwrap();
        let mut phases = technique.phases(epochs);
        phases.insert(0, (0, Phase::Dense));
        let ends = phases.iter().skip(1).map(|(epoch, _)| *epoch).chain([epochs]);
        let words = phases.iter().zip(ends).filter(|((begin, _), end)| begin < end);
        let word = |((begin, phase), end): (&(u64, Phase), u64)| {
            format!("{}{}", if *phase == Phase::Sparse { 'S' } else { 'D' }, end - begin)
        };
        words.map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn phases_are_the_published_ones() {
        let imagenet = "D10 S5 D5 S5 D5 S5 D5 S5 D5 S5 D5 S5 D5 S5 D10 S15";
        let lists = "sparse_at = [10, 20, 30, 40, 50, 60, 70, 85]\ndense_at = [15, 25, 35, 45, 55, 65, 75]";
        assert_eq!(phases(lists, 100), imagenet);
        assert_eq!(phases("", 100), imagenet);
        let cifar = "warm_up = 10\nsparse = 20\ndense = 20\nfinal = 30";
        assert_eq!(phases(cifar, 200), "D10 S20 D20 S20 D20 S20 D20 S20 D20 S30");
        assert_eq!(phases("", 3), "S1 D1 S1");
    }
}
