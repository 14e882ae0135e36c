//! Where batches come from.

use std::fmt;

use lissom_data::{DataError, Epochs, Labels, TrainingBatch};
use lissom_tensor::Tensor;

use crate::TrainError;

/// A batch: what the network and its losses are given, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Inputs of the network and targets of the losses.
    pub tensors: Vec<(String, Tensor)>,
    /// How many samples.
    pub n: usize,
}

impl Samples {
    /// The tensors as a trainer takes them.
    pub fn named(&self) -> Vec<(&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
    }

    /// How many answers can be right: one for each label, else one a sample.
    pub(super) fn n_answers(&self) -> usize {
        self.tensors.iter().find(|(name, _)| name == LABELS).map_or(self.n, |(_, labels)| labels.len())
    }
}

/// Name of the classes of a batch, as losses want them: i64.
const LABELS: &str = "labels";
/// Name of shares of classes.
const PROBABILITIES: &str = "probabilities";
/// Name of a number for each sample.
const SCORES: &str = "scores";

/// Batches, epoch after epoch. Epoch and step alone say what a batch holds.
pub trait Source: fmt::Debug {
    /// Batches of an epoch; at least 1.
    fn steps(&self) -> u64;

    /// Every batch from `step` of `epoch` on, in order.
    fn start(&self, epoch: u64, step: u64) -> Box<dyn Iterator<Item = Result<Samples, TrainError>> + '_>;
}

impl Source for Epochs {
    fn steps(&self) -> u64 {
        Self::steps(self) as u64
    }

    fn start(&self, epoch: u64, step: u64) -> Box<dyn Iterator<Item = Result<Samples, TrainError>> + '_> {
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        Box::new(Self::start(self, epoch, step).map(samples))
    }
}

fn samples(batch: Result<TrainingBatch, DataError>) -> Result<Samples, TrainError> {
    let TrainingBatch { batch, soft_labels, .. } = batch?;
    let n = batch.rows.len();
    let mut tensors = batch.inputs;
    match batch.labels {
        Some(Labels::Classes(classes)) => tensors.push((LABELS.into(), Tensor::vector(classes))),
        Some(Labels::Scores(scores)) => tensors.push((SCORES.into(), Tensor::vector(scores))),
        None => {}
    }
    tensors.extend(soft_labels.map(|shares| (PROBABILITIES.into(), shares)));
    Ok(Samples { tensors, n })
}

/// Batches held in memory, the same in every epoch, for tests and programs.
#[derive(Debug, Clone)]
pub struct InMemory {
    /// The batches of an epoch.
    pub batches: Vec<Samples>,
}

impl Source for InMemory {
    fn steps(&self) -> u64 {
        self.batches.len() as u64
    }

    fn start(&self, _epoch: u64, step: u64) -> Box<dyn Iterator<Item = Result<Samples, TrainError>> + '_> {
        let skipped = usize::try_from(step).unwrap_or(usize::MAX);
        Box::new(self.batches.iter().cycle().skip(skipped).cloned().map(Ok))
    }
}
