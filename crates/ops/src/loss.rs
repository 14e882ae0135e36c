//! What the losses over class labels share.

use lissom_graph::{Dim, Fact, Facts, NodeReader, OpError};
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
        let &[batch, classes, ref rest @ ..] = x.shape() else {
            return Err(OpError::shape(0, x.shape(), "expected at least 2 axes"));
        };
        let label_shape: Vec<usize> = [batch].into_iter().chain(rest.iter().copied()).collect();
        expect_shape(1, labels, &label_shape)?;
        if let Some(weights) = weights {
            expect_shape(2, weights, &[classes])?;
        }
        let weights = weights.map(|weights| floats(2, weights)).transpose()?;
        let inner = if labels.is_empty() { 1 } else { checked_len(DType::F64, rest)? };
        let mut total_weight = 0.0;
        let mut losses = Vec::with_capacity(labels.len());
        for (i, label) in labels.to_i64_vec()?.into_iter().enumerate() {
            if Some(label) == self.ignore_index {
                losses.push(0.0);
                continue;
            }
            let class = usize::try_from(label).ok().filter(|&class| class < classes);
            let class = class.ok_or_else(|| OpError::value(format!("label {label} of {classes} classes")))?;
            let weight = weights.as_ref().map_or(1.0, |weights| weights[class]);
            total_weight += weight;
            losses.push(-log_probabilities[(i / inner * classes + class) * inner + i % inner] * weight);
        }
        let sum: f64 = losses.iter().sum();
        match self.reduction {
            LossReduction::None => from_f64(x.dtype(), label_shape, losses),
            LossReduction::Sum => from_f64(x.dtype(), Vec::new(), vec![sum]),
            LossReduction::Mean => from_f64(x.dtype(), Vec::new(), vec![sum / total_weight]),
        }
    }
}
