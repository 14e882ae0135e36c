//! Taking the gradient elsewhere than at the weights: what compression-aware training does inside of a step.

use std::fmt;

use crate::{Named, Perturbation, TrainError};

/// Where a step takes its gradient, and what it makes of it.
///
/// A step with a detour: the gradient at the weights, if [`perturbation`](Self::perturbation) wants one; the weights moved along it and
/// changed by [`weights`](Self::weights); the gradient there, on the same batch; what [`gradients`](Self::gradients) makes of both; the
/// optimizer's update of the weights as they were. Running statistics and the loss are those of the first gradient that is taken.
pub trait Detour: fmt::Debug + Send {
    /// How far the weights move along a first gradient; `None` takes no first gradient.
    fn perturbation(&self) -> Option<Perturbation>;

    /// Changes the (moved) weights, by parameter name, before the gradient is taken there. Steps count from 0.
    ///
    /// # Errors
    /// [`TrainError`] if they are not what it expects.
    fn weights(&mut self, step: u64, weights: &mut Named) -> Result<(), TrainError>;

    /// Fills in the weights that the gradients of layers' inputs are taken with, by parameter name: those that
    /// [`StepOptions::backward`](crate::StepOptions::backward) names, before each step. `weights` holds what the trainer carries.
    ///
    /// # Errors
    /// [`TrainError`] if they are not what it expects.
    fn backward(&mut self, _weights: &Named, _backward: &mut Named) -> Result<(), TrainError> {
        Ok(())
    }

    /// Makes the gradient of the update, by parameter name: `gradients` were taken at the changed weights, `first` at `weights`, which
    /// holds what the trainer carries.
    ///
    /// # Errors
    /// [`TrainError`] if they are not what it expects.
    fn gradients(&mut self, weights: &Named, first: Option<&Named>, gradients: &mut Named) -> Result<(), TrainError>;
}
