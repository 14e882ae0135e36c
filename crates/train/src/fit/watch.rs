//! Who looks on while a network trains.

use std::error::Error;

use crate::Moment;

/// Why a watch could not do its work, which ends the training.
pub type WatchError = Box<dyn Error + Send + Sync>;

/// Told how a training goes. Nothing it does changes the result.
///
/// Names of metrics are `WHAT/WHOSE` or `WHAT`: `loss/training`, `loss/validation`, `accuracy/validation`, `learning_rate`, `sparsity`
/// (share of zeros in the weights that are trained), and those of the technique.
pub trait Watch: Sync {
    /// The training begins, or goes on after `at.step` steps: what was told of later ones is told again.
    ///
    /// # Errors
    /// Whatever keeps the watch from its work.
    fn begin(&self, _at: &Moment) -> Result<(), WatchError> {
        Ok(())
    }

    /// Metrics after `at.step` steps; at step 0 those of the state before the first.
    ///
    /// # Errors
    /// Whatever keeps the watch from its work.
    fn step(&self, _at: &Moment, _metrics: &[(String, f64)]) -> Result<(), WatchError> {
        Ok(())
    }

    /// A checkpoint is about to be written: what was told so far will not be told again.
    ///
    /// # Errors
    /// Whatever keeps the watch from its work.
    fn keep(&self, _at: &Moment) -> Result<(), WatchError> {
        Ok(())
    }
}

/// Nobody looks on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}
