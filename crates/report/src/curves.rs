//! Numbers over the steps of a training.

use serde::{Deserialize, Serialize};

use crate::histogram::nan_from_null_list;
use crate::schema::Unit;

/// One chart of a training: the loss, say, on training and on validation data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What is shown: `Loss`, `Accuracy`, `Learning rate`, `Sparsity`.
    pub label: String,
    /// Unit of the values.
    pub unit: Unit,
    /// What is compared in the chart, the most important first; four are told apart by colour and stroke.
    pub series: Vec<Series>,
}

/// A number at some of the steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Whose it is: `training`, `validation`.
    pub name: String,
    /// The steps, rising.
    pub steps: Vec<u64>,
    /// The number at each of the steps; NaN or infinite where there is none, which leaves a gap. Without a partner a step or a number
    /// is not shown.
    #[serde(deserialize_with = "nan_from_null_list")]
    pub values: Vec<f64>,
}

impl Series {
    /// A series from pairs of step and number.
    pub fn new(name: &str, points: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let (steps, values) = points.into_iter().unzip();
        Self { name: name.to_owned(), steps, values }
    }

    /// Steps and numbers, those that are NaN or infinite too.
    pub(crate) fn points(&self) -> impl Iterator<Item = (u64, f64)> + Clone {
        // So far from the largest number that no range overflows.
        self.steps.iter().copied().zip(self.values.iter().map(|&value| match value.is_finite() {
            true => value.clamp(-1e300, 1e300),
            false => value,
        }))
    }

    /// Steps and numbers that can be shown.
    pub(crate) fn known(&self) -> impl Iterator<Item = (u64, f64)> + Clone {
        self.points().filter(|point| point.1.is_finite())
    }
}
