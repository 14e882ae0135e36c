//! The rules that change parameters by their gradients, one file each, as nodes.
//!
//! All are given the gradient of the loss's mean over the batch. Steps count from 1.

mod adamw;
mod lamb;
mod lars;
mod lion;
mod sam;
mod sgd;

use std::fmt;

use lissom_graph::{OpError, ValueId};
use lissom_recipe::{Settings, SettingsError};

use crate::{Group, Nodes, Parameter};

pub use sam::{Length, Perturbation};

/// All optimizers, alphabetically.
pub static OPTIMIZERS: &[OptimizerSpec] = &[adamw::SPEC, lamb::SPEC, lars::SPEC, lion::SPEC, sam::SPEC, sgd::SPEC];

/// An optimizer as it stands in [`OPTIMIZERS`].
#[derive(Clone, Copy)]
pub struct OptimizerSpec {
    /// The word in recipes.
    pub name: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Typical settings, as TOML.
    pub example: &'static str,
    /// Reads and checks the settings.
    pub parse: fn(&Settings) -> Result<Box<dyn Optimizer>, SettingsError>,
}

impl fmt::Debug for OptimizerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptimizerSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A rule with its settings.
pub trait Optimizer: fmt::Debug + Send + Sync {
    /// The peak of the learning rate, which a schedule scales.
    fn learning_rate(&self) -> f64;

    /// What it keeps beside each parameter, shaped as it; all begin at zero.
    fn states(&self) -> &'static [&'static str];

    /// Names of the numbers that change from step to step.
    fn scalars(&self) -> &'static [&'static str] {
        &["learning_rate"]
    }

    /// These numbers, in the order of [`scalars`](Self::scalars), for a step (from 1) and its learning rate.
    fn values(&self, _step: u64, learning_rate: f64) -> Vec<f64> {
        vec![learning_rate]
    }

    /// Changes all gradients together before any parameter is updated.
    ///
    /// # Errors
    /// [`OpError`] if a node cannot be made.
    fn prepare(&self, _nodes: &mut Nodes<'_>, gradients: Vec<ValueId>) -> Result<Vec<ValueId>, OpError> {
        Ok(gradients)
    }

    /// The nodes of one parameter's update. `scalars` are the values of [`scalars`](Self::scalars).
    ///
    /// # Errors
    /// [`OpError`] if a node cannot be made.
    fn update(&self, nodes: &mut Nodes<'_>, slot: &Slot<'_>, scalars: &[ValueId]) -> Result<Updated, OpError>;

    /// How far the weights move before a second gradient is taken, for an optimizer that wants one there.
    fn perturbation(&self) -> Option<Perturbation> {
        None
    }
}

/// What the update of one parameter is made from.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    /// The parameter.
    pub parameter: &'a Parameter,
    /// Its value.
    pub weight: ValueId,
    /// Its gradient.
    pub gradient: ValueId,
    /// What the optimizer keeps beside it, in the order of [`Optimizer::states`].
    pub states: &'a [ValueId],
}

/// What an update makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The new value of the parameter.
    pub weight: ValueId,
    /// The new states, in order.
    pub states: Vec<ValueId>,
}

/// Weight decay of each group.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Decay {
    weight: f64,
    bias: f64,
    norm: f64,
}

impl Decay {
    fn of(self, group: Group) -> f64 {
        match group {
            Group::Weight => self.weight,
            Group::Bias => self.bias,
            Group::Norm => self.norm,
            Group::Step => 0.0,
        }
    }

    /// What a step leaves of each group where decay is apart from the gradient: 1 − learning rate · decay.
    fn kept(self, learning_rate: f64) -> [f64; 3] {
        [self.weight, self.bias, self.norm].map(|decay| 1.0 - learning_rate * decay)
    }
}

/// What decay apart from the gradient leaves of a weight; `kept` are the scalars of [`Decay::kept`].
fn decayed(nodes: &mut Nodes<'_>, slot: &Slot<'_>, kept: &[ValueId]) -> Result<ValueId, OpError> {
    let index = match slot.parameter.group {
        Group::Weight => 0,
        Group::Bias => 1,
        Group::Norm => 2,
        Group::Step => return Ok(slot.weight),
    };
    nodes.mul(slot.weight, kept[index])
}

/// A key of the settings, and what is wrong with its value.
type Wrong = (&'static str, &'static str);

fn positive(key: &'static str, value: f64) -> Result<(), Wrong> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err((key, "must be more than 0")) }
}

fn not_negative(key: &'static str, value: f64) -> Result<(), Wrong> {
    if value >= 0.0 && value.is_finite() { Ok(()) } else { Err((key, "must not be negative")) }
}

fn below_one(key: &'static str, value: f64) -> Result<(), Wrong> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { Err((key, "must be at least 0 and less than 1")) }
}

/// Settings of an optimizer, with checks that serde cannot make.
trait Checked: Optimizer + serde::de::DeserializeOwned + Sized + 'static {
    fn check(&self) -> Result<(), Wrong>;
}

fn parse<T: Checked>(settings: &Settings) -> Result<Box<dyn Optimizer>, SettingsError> {
    let optimizer: T = settings.parse()?;
    optimizer.check().map_err(|(key, reason)| settings.error_at(key, reason))?;
    Ok(Box::new(optimizer))
}

/// weight − rate · direction.
fn descend(nodes: &mut Nodes<'_>, weight: ValueId, rate: ValueId, direction: ValueId) -> Result<ValueId, OpError> {
    let change = nodes.mul(direction, rate)?;
    nodes.sub(weight, change)
}

/// share · old + (1 − share) · new.
fn mixed(nodes: &mut Nodes<'_>, share: f64, old: ValueId, new: ValueId) -> Result<ValueId, OpError> {
    let old = nodes.scaled(old, share)?;
    let new = nodes.scaled(new, 1.0 - share)?;
    nodes.add(old, new)
}

/// a / b if both are more than 0, else 1; all without axes.
fn ratio_or_one(nodes: &mut Nodes<'_>, a: ValueId, b: ValueId, ratio: ValueId) -> Result<ValueId, OpError> {
    let (zero, one) = (nodes.number(0.0)?, nodes.number(1.0)?);
    let a = nodes.greater(a, zero)?;
    let b = nodes.greater(b, zero)?;
    let both = nodes.and(a, b)?;
    nodes.node("Where", &[both, ratio, one], lissom_graph::Attributes::new())
}

/// Whether a parameter's rate may follow its norm: one number alone has none worth the name.
fn has_norm(parameter: &Parameter) -> bool {
    parameter.shape.iter().product::<usize>() > 1
}

#[cfg(test)]
mod tests;
