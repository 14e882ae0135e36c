//! What training makes small, one file each, as nodes. All are means over the batch.

mod attention_transfer;
mod cross_entropy;
mod distillation;
mod hint;

use std::fmt;

use lissom_graph::{Dim, Fact, Graph, ValueId};
use lissom_recipe::{Settings, SettingsError};

use crate::{Nodes, TrainError};

/// All losses, alphabetically.
pub static LOSSES: &[LossSpec] = &[attention_transfer::SPEC, cross_entropy::SPEC, distillation::SPEC, hint::SPEC];

/// A loss as it stands in [`LOSSES`].
#[derive(Clone, Copy)]
pub struct LossSpec {
    /// The word in recipes.
    pub name: &'static str,
    /// One line on what it measures.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Typical settings, as TOML.
    pub example: &'static str,
    /// Reads and checks the settings.
    pub parse: fn(&Settings) -> Result<Box<dyn Loss>, SettingsError>,
}

impl fmt::Debug for LossSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A loss with its settings.
pub trait Loss: fmt::Debug + Send + Sync {
    /// Its name in [`LOSSES`].
    fn name(&self) -> &'static str;

    /// What it compares the network with: inputs of the step beside the network's own. Losses that name the same target
    /// share it.
    ///
    /// # Errors
    /// [`TrainError`] if the network has not what the loss needs.
    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError>;

    /// The nodes of the loss, a value without axes. `targets` are the values of [`targets`](Self::targets).
    ///
    /// # Errors
    /// [`TrainError`] if a node cannot be made.
    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError>;
}

/// An input a loss asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name, unless the network has a value of that name already.
    pub name: String,
    /// Its type and shape.
    pub fact: Fact,
}

/// The network a loss looks at.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// With facts inferred.
    pub graph: &'a Graph,
    /// The scores (logits): the first output, before a final softmax if there is one.
    pub scores: ValueId,
}

impl Network<'_> {
    /// Shape of the scores, and the number of classes: the length of their last axis.
    fn classes(&self, loss: &'static str) -> Result<(Vec<Dim>, usize), TrainError> {
        let value = self.graph.value(self.scores);
        let shape = value.fact.shape.clone().unwrap_or_default();
        match shape.last().and_then(Dim::known) {
            Some(n_classes) if shape.len() > 1 && n_classes > 1 => Ok((shape, n_classes)),
            _ => Err(TrainError::Shape {
                loss,
                value: value.name.clone(),
                expected: "a batch and a known number of classes along the last axis",
                fact: value.fact.to_string(),
            }),
        }
    }

    /// The value of this name.
    fn hidden(&self, name: &str) -> Result<ValueId, TrainError> {
        let names = || self.graph.values().iter().map(|value| value.name.as_str()).filter(|name| !name.is_empty());
        self.graph.find_value(name).ok_or_else(|| TrainError::unknown_value(name, names()))
    }

    fn fact(&self, value: ValueId) -> &Fact {
        &self.graph.value(value).fact
    }
}

/// Mean over everything of Σ over the last axis of a · b, with its sign turned.
fn minus_mean_dot(nodes: &mut Nodes<'_>, a: ValueId, b: ValueId) -> Result<ValueId, TrainError> {
    let products = nodes.mul(a, b)?;
    let rows = nodes.reduce("ReduceSum", products, &[-1], false)?;
    let mean = nodes.reduce("ReduceMean", rows, &[], false)?;
    Ok(nodes.scaled(mean, -1.0)?)
}

/// Mean of (a − b)² over everything.
fn mean_square(nodes: &mut Nodes<'_>, a: ValueId, b: ValueId) -> Result<ValueId, TrainError> {
    let difference = nodes.sub(a, b)?;
    let squares = nodes.mul(difference, difference)?;
    Ok(nodes.reduce("ReduceMean", squares, &[], false)?)
}

fn log_softmax(nodes: &mut Nodes<'_>, scores: ValueId) -> Result<ValueId, TrainError> {
    Ok(nodes.node("LogSoftmax", &[scores], lissom_graph::Attributes::new().with("axis", -1i64))?)
}

#[cfg(test)]
mod tests;
