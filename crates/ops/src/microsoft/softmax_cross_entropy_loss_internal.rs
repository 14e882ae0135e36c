//! `SoftmaxCrossEntropyLossInternal`: `SoftmaxCrossEntropyLoss` whose ignored label is an input.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::gradient::{Gradients, optional_x};
use crate::sample_data::{filled, positive, ramp};
use crate::softmax_cross_entropy_loss::gradients;
use crate::{LabelLoss, SoftmaxCrossEntropyLoss};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SoftmaxCrossEntropyLossInternal",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(SoftmaxCrossEntropyLossInternal { loss: read_loss(node)? })),
    samples: || {
        vec![
            Sample::new([ramp(&[3, 4]), Tensor::vector(vec![0i64, 3, 1])]).outputs(2),
            Sample::new([
                ramp(&[2, 3, 2]),
                filled(&[2, 2], vec![0i64, 2, -1, 1]),
                positive(&[3]),
                Tensor::scalar(-1i64),
            ])
            .with("reduction", "none")
            .outputs(2),
        ]
    },
};

/// The reduction; which label is ignored is not an attribute here.
pub(super) fn read_loss(node: &NodeReader<'_>) -> Result<LabelLoss, OpError> {
    node.ignore(&["output_type"]); // the type of the scores
    LabelLoss::read(node)
}

/// `loss`, with the ignored label from input `index`.
pub(super) fn with_ignored(loss: LabelLoss, inputs: &Inputs<'_>, index: usize) -> Result<LabelLoss, OpError> {
    let ignored = inputs.optional(index).map(Tensor::to_i64).transpose()?;
    Ok(LabelLoss { ignore_index: ignored.or(loss.ignore_index), ..loss })
}

/// `SoftmaxCrossEntropyLossInternal`: inputs scores `[n, c, …]`, labels `[n, …]`, class weights `[c]`, the ignored label;
/// outputs the loss and the log-probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftmaxCrossEntropyLossInternal {
    /// Reduction.
    pub loss: LabelLoss,
}

impl Op for SoftmaxCrossEntropyLossInternal {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        SoftmaxCrossEntropyLoss { loss: self.loss }.infer(inputs)
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        SoftmaxCrossEntropyLoss { loss: with_ignored(self.loss, inputs, 3)? }.evaluate(inputs)
    }

    fn saved_outputs(&self) -> usize {
        2
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let ignored = optional_x(vjp, 3);
        gradients(vjp, self.loss, ignored)
    }
}
