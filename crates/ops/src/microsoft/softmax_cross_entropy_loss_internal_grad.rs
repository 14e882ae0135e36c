//! `SoftmaxCrossEntropyLossInternalGrad`: the gradient of `SoftmaxCrossEntropyLossInternal` from its log-probabilities.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use super::softmax_cross_entropy_loss_internal::{read_loss, with_ignored};
use crate::LabelLoss;
use crate::numeric::{floats, from_f64};
use crate::sample_data::{filled, positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SoftmaxCrossEntropyLossInternalGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(SoftmaxCrossEntropyLossInternalGrad { loss: read_loss(node)? })),
    samples: || {
        vec![
            Sample::new([Tensor::scalar(2f32), ramp(&[3, 4]), Tensor::vector(vec![0i64, 3, 1])]),
            Sample::new([
                ramp(&[2, 2]),
                ramp(&[2, 3, 2]),
                filled(&[2, 2], vec![0i64, 2, -1, 1]),
                positive(&[3]),
                Tensor::scalar(-1i64),
            ])
            .with("reduction", "none"),
        ]
    },
};

/// `SoftmaxCrossEntropyLossInternalGrad`: inputs dY, log-probabilities `[n, c, …]`, labels `[n, …]`, class weights `[c]`, the
/// ignored label; output the gradient of the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftmaxCrossEntropyLossInternalGrad {
    /// Reduction.
    pub loss: LabelLoss,
}

impl Op for SoftmaxCrossEntropyLossInternalGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(inputs.dtype(1), inputs.shape(1).map(<[_]>::to_vec))])
    }

    /// dY · weight · (probability − 1 at the label), 0 where the label is ignored; the mean's also over the sum of weights.
    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, logs, labels) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let loss = with_ignored(self.loss, inputs, 4)?;
        let slopes = loss.slopes(dy, logs, labels, inputs.optional(3))?;
        let log_probabilities = floats(1, logs)?;
        let mut gradient = vec![0.0; log_probabilities.len()];
        for (slope, target) in slopes.into_iter().flatten() {
            for class in 0..target.classes {
                let at = target.first + class * target.step;
                gradient[at] = -slope * log_probabilities[at].exp();
            }
            gradient[target.at] += slope;
        }
        Ok(vec![from_f64(logs.dtype(), logs.shape().to_vec(), gradient)?])
    }
}
