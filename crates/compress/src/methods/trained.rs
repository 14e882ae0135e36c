//! Methods that work while a network trains.

use lissom_graph::Model;
use lissom_recipe::LayerFilter;
use lissom_train::Technique;

use crate::{Changes, Job, Method, MethodError, training};

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

    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        // The step's `layers` say which weights the technique is for; all of the network learns.
        let layers = LayerFilter::all();
        training::run(self.name, &mut self.technique.clone(), model, &Job { layers: &layers, ..*job })
    }
}
