//! What the losses over class labels share.

use lissom_graph::{Attributes, Dim, Fact, Facts, NodeReader, OpError};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::{expect_shape, floats, from_f64};

/// How the losses of all samples become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReduction {
    /// They do not.
    None,
    /// Their sum.
    Sum,
    /// Their sum over the sum of their classes' weights.
    Mean,
}

/// The loss −log p of the label's class, weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelLoss {
    /// How the losses of all samples become one.
    pub reduction: LossReduction,
    /// Samples with this label count for nothing.
    pub ignore_index: Option<i64>,
}

impl LabelLoss {
    pub(crate) fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let reduction = match node.string_or("reduction", "mean")?.as_str() {
            "none" => LossReduction::None,
            "sum" => LossReduction::Sum,
            "mean" => LossReduction::Mean,
            other => return Err(OpError::attribute("reduction", format!("unknown value `{other}`"))),
        };
        Ok(Self { reduction, ignore_index: node.int("ignore_index")? })
    }

    pub(crate) fn infer(self, inputs: &Facts<'_>) -> Fact {
        let shape = match self.reduction {
            LossReduction::None => inputs.shape(1).map(<[Dim]>::to_vec),
            LossReduction::Sum | LossReduction::Mean => Some(Vec::new()),
        };
        Fact::maybe(inputs.dtype(0), shape)
    }

    /// The loss of log-probabilities `[n, c, …]`, whose values are given, for labels `[n, …]`.
    ///
    /// # Errors
    /// [`OpError::BadShape`]; [`OpError::BadValue`] for a label that is no class.
    pub(crate) fn run(
        self,
        x: &Tensor,
        log_probabilities: &[f64],
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, OpError> {
        let targets = self.targets(x.shape(), labels, weights)?;
        let losses: Vec<f64> = targets
            .iter()
            .map(|target| target.as_ref().map_or(0.0, |target| -log_probabilities[target.at] * target.weight))
            .collect();
        let sum: f64 = losses.iter().sum();
        match self.reduction {
            LossReduction::None => from_f64(x.dtype(), labels.shape().to_vec(), losses),
            LossReduction::Sum => from_f64(x.dtype(), Vec::new(), vec![sum]),
            LossReduction::Mean => from_f64(x.dtype(), Vec::new(), vec![sum / total_weight(&targets)]),
        }
    }

    /// For each label the loss's gradient with respect to the log-probability of its class, and its target.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`OpError::BadShape`] for a gradient `dy` of another shape than the loss.
    pub(crate) fn slopes(
        self,
        dy: &Tensor,
        x: &Tensor,
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Vec<Option<(f64, Target)>>, OpError> {
        let per_label = self.reduction == LossReduction::None;
        expect_shape(0, dy, if per_label { labels.shape() } else { &[] })?;
        let targets = self.targets(x.shape(), labels, weights)?;
        let total = if self.reduction == LossReduction::Mean { total_weight(&targets) } else { 1.0 };
        let gradients = floats(0, dy)?;
        let slope = |(i, target): (usize, Option<Target>)| {
            let target = target?;
            Some((-gradients[if per_label { i } else { 0 }] * target.weight / total, target))
        };
        Ok(targets.into_iter().enumerate().map(slope).collect())
    }

    /// What each label asks for; `None` if it is to be ignored.
    fn targets(
        self,
        shape: &[usize],
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Vec<Option<Target>>, OpError> {
        let &[batch, classes, ref rest @ ..] = shape else {
            return Err(OpError::shape(0, shape, "expected at least 2 axes"));
        };
        let label_shape: Vec<usize> = [batch].into_iter().chain(rest.iter().copied()).collect();
        expect_shape(1, labels, &label_shape)?;
        if let Some(weights) = weights {
            expect_shape(2, weights, &[classes])?;
        }
        let weights = weights.map(|weights| floats(2, weights)).transpose()?;
        let inner = if labels.is_empty() { 1 } else { checked_len(DType::F64, rest)? };
        let target = |(i, label): (usize, i64)| {
            if Some(label) == self.ignore_index {
                return Ok(None);
            }
            let class = usize::try_from(label).ok().filter(|&class| class < classes);
            let class = class.ok_or_else(|| OpError::value(format!("label {label} of {classes} classes")))?;
            let weight = weights.as_ref().map_or(1.0, |weights| weights[class]);
            let first = i / inner * classes * inner + i % inner;
            Ok(Some(Target { first, at: first + class * inner, step: inner, classes, weight }))
        };
        labels.to_i64_vec()?.into_iter().enumerate().map(target).collect()
    }

    /// The attributes, for a node of the same loss.
    pub(crate) fn attributes(self) -> Attributes {
        let reduction = match self.reduction {
            LossReduction::None => "none",
            LossReduction::Sum => "sum",
            LossReduction::Mean => "mean",
        };
        Attributes::new().with("reduction", reduction)
    }
}

/// One label: where the probability of its class stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Position of the probability of class 0.
    pub first: usize,
    /// Position of the probability of the label's class.
    pub at: usize,
    /// From the probability of one class to that of the next.
    pub step: usize,
    /// Number of classes.
    pub classes: usize,
    /// Of the label's class.
    pub weight: f64,
}

fn total_weight(targets: &[Option<Target>]) -> f64 {
    targets.iter().flatten().map(|target| target.weight).sum()
}
