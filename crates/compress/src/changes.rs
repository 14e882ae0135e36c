//! What a method did, layer by layer: nothing is changed, skipped or left out silently.

use lissom_graph::Model;
use lissom_tensor::{TensorError, Weight};
use serde::{Deserialize, Serialize};

/// What one step did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Weights that changed, in the order of the graph.
    pub layers: Vec<LayerChange>,
    /// Layers the step wanted to change and could not.
    pub skipped: Vec<Skipped>,
    /// What else is worth knowing, a sentence each.
    pub notes: Vec<String>,
    /// Networks that a training made beside its result, by name.
    #[serde(skip)]
    pub others: Vec<(String, Model)>,
}

/// One weight before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerChange {
    /// Name of the node.
    pub layer: String,
    /// Before the step.
    pub before: WeightState,
    /// After the step.
    pub after: WeightState,
}

/// A layer that was left as it was, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Name of the node.
    pub layer: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// What a weight costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightState {
    /// `f32`, `i8 per channel`, …
    pub encoding: String,
    /// Elements.
    pub len: usize,
    /// Elements that are exactly zero.
    pub zeros: usize,
    /// Bits in a file, scales and zero points included.
    pub bits: u64,
}

impl WeightState {
    /// The state of a weight.
    ///
    /// # Errors
    /// If the weight cannot be decoded.
    pub fn of(weight: &Weight) -> Result<Self, TensorError> {
        Ok(Self { encoding: weight.describe(), len: weight.len(), zeros: weight.count_zeros()?, bits: weight.bits() })
    }

    /// Share of zeros, 0..1.
    pub fn sparsity(&self) -> f64 {
        self.zeros as f64 / self.len.max(1) as f64
    }
}
