//! Methods that work while a network trains.

use lissom_graph::Model;
use lissom_train::Technique;

use crate::{Changes, Job, Method, MethodError};

/// A technique as a method.
#[derive(Debug)]
pub(super) struct Trained<T> {
    /// Its name in the list of methods.
    pub(super) name: &'static str,
    /// With its settings, before any training.
    pub(super) technique: T,
}

impl<T: Technique + Clone + Sync + 'static> Method for Trained<T> {
    fn technique(&self) -> Option<Box<dyn Technique>> {
        Some(Box::new(self.technique.clone()))
    }

    fn apply(&self, _model: &mut Model, _job: &Job<'_>) -> Result<Changes, MethodError> {
        Err(MethodError::NeedsTraining { method: self.name })
    }
}
