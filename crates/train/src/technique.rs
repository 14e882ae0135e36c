//! What a method does while a network trains: the seam between the loop and the methods.

use std::collections::BTreeMap;
use std::fmt;

use lissom_graph::Model;
use lissom_tensor::Tensor;

use crate::{TrainError, Trainer, TrainerOptions};

/// Where a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Epochs completed.
    pub epoch: u64,
    /// Steps done, in all epochs.
    pub step: u64,
    /// Steps of one epoch.
    pub steps_an_epoch: u64,
    /// Epochs of the whole training.
    pub epochs: u64,
}

impl Moment {
    /// True before the first step of an epoch.
    pub fn begins_epoch(&self) -> bool {
        self.steps_an_epoch > 0 && self.step.is_multiple_of(self.steps_an_epoch)
    }

    /// Share of the training that is done, 0 to 1.
    pub fn share(&self) -> f64 {
        let total = self.epochs.saturating_mul(self.steps_an_epoch).max(1);
        self.step as f64 / total as f64
    }
}

/// What becomes of the step that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Due {
    /// It is done.
    #[default]
    Train,
    /// It counts, but the parameters stay: the technique used the batch for something else.
    Skip,
}

/// What a technique keeps from step to step beside what the trainer carries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    /// Numbers and words by name.
    pub values: BTreeMap<String, String>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// A method while a network trains. Deterministic: what it draws comes from the seed and the step.
///
/// The loop calls [`prepare`](Self::prepare), makes the trainer, then [`begin`](Self::begin) (or [`load`](Self::load) after an
/// interruption), around each step [`before_step`](Self::before_step) and [`after_step`](Self::after_step), and at the end
/// [`finish`](Self::finish).
pub trait Technique: fmt::Debug + Send {
    /// Changes the network and how it is trained, before the trainer is made: masks, losses, a second gradient.
    ///
    /// # Errors
    /// [`TrainError`] if the network does not suit.
    fn prepare(&mut self, _model: &mut Model, _options: &mut TrainerOptions) -> Result<(), TrainError> {
        Ok(())
    }

    /// Once, before the first step; `batch` is the one of that step.
    ///
    /// # Errors
    /// Whatever the trainer says.
    fn begin(&mut self, _trainer: &mut Trainer, _batch: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        Ok(())
    }

    /// Targets of losses that the data does not bring, such as a teacher's answers to a batch; they join the batch.
    ///
    /// # Errors
    /// Whatever makes them says.
    fn targets(&mut self, _at: &Moment, _batch: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, TrainError> {
        Ok(Vec::new())
    }

    /// Before each step, with its batch.
    ///
    /// # Errors
    /// Whatever the trainer says.
    fn before_step(
        &mut self,
        _trainer: &mut Trainer,
        _at: &Moment,
        _batch: &[(&str, &Tensor)],
    ) -> Result<Due, TrainError> {
        Ok(Due::Train)
    }

    /// After each step; `at` counts it.
    ///
    /// # Errors
    /// Whatever the trainer says.
    fn after_step(&mut self, _trainer: &mut Trainer, _at: &Moment) -> Result<(), TrainError> {
        Ok(())
    }

    /// The network as it would be written now, which is what is evaluated on the way; the trainer's own by default.
    ///
    /// # Errors
    /// [`TrainError`] if it cannot be made.
    fn network(&self, trainer: &Trainer) -> Result<Model, TrainError> {
        Ok(trainer.model())
    }

    /// The trained network as it is to be written.
    ///
    /// # Errors
    /// [`TrainError`] if it cannot be made.
    fn finish(&mut self, trainer: &Trainer) -> Result<Model, TrainError> {
        self.network(trainer)
    }

    /// Networks beside the final one, by name: e.g. the dense one of a pair.
    fn others(&self, _trainer: &Trainer) -> Vec<(String, Model)> {
        Vec::new()
    }

    /// Numbers worth a curve: sparsity, a loss of its own.
    fn metrics(&self, _trainer: &Trainer) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// What it needs to go on after an interruption.
    fn save(&self) -> Kept {
        Kept::default()
    }

    /// Goes on with what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// [`TrainError`] if it is not its own.
    fn load(&mut self, _kept: &Kept) -> Result<(), TrainError> {
        Ok(())
    }
}

/// Plain training.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Technique for Plain {}
