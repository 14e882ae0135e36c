//! `SoftmaxCrossEntropyLoss`: minus the logarithm of the softmax at the label, weighted and reduced.
//!
//! <https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, dy, emit, optional_x, x, y};
use crate::loss::LabelLoss;
use crate::numeric::{floats, from_f64};
use crate::sample_data::{filled, positive, ramp};
use crate::softmax_axis::{SoftmaxAxis, log_softmax};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SoftmaxCrossEntropyLoss",
    domain: "",
    since: 12,
    read: |node| Ok(Arc::new(SoftmaxCrossEntropyLoss { loss: LabelLoss::read(node)? })),
    samples: || {
        vec![
            Sample::new([ramp(&[3, 4]), Tensor::vector(vec![0i64, 3, 1])]).outputs(2),
            Sample::new([ramp(&[2, 3, 2]), filled(&[2, 2], vec![0i32, 2, -1, 1]), positive(&[3])])
                .with("reduction", "none")
                .with("ignore_index", -1i64),
        ]
    },
};

/// The gradients of a loss, from those of the loss and of the log-probabilities. Weights of classes are taken as given.
pub(crate) fn gradients(vjp: &mut Vjp<'_>, loss: LabelLoss, ignore_index: Option<Expr>) -> Gradients {
    let (labels, weights) = (x(vjp, 1)?, optional_x(vjp, 2));
    let mut total = None;
    if let Some(dy) = dy(vjp, 0) {
        let inputs = vec![Some(dy), Some(y(vjp, 1)?), Some(labels), weights, ignore_index];
        let all = Expr::microsoft_outputs("SoftmaxCrossEntropyLossInternalGrad", inputs, loss.attributes(), 1);
        total = all.into_iter().next();
    }
    if let Some(dy) = dy(vjp, 1) {
        let of_log = Expr::microsoft("LogSoftmaxGrad_13", [dy, y(vjp, 1)?]).with("axis", 1i64);
        total = Some(total.map_or(of_log.clone(), |total| total + of_log));
    }
    emit(vjp, [total])
}

/// `SoftmaxCrossEntropyLoss`: inputs scores `[n, c, …]`, labels `[n, …]`, class weights `[c]`; outputs the loss and the
/// log-probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftmaxCrossEntropyLoss {
    /// Reduction and ignored label.
    pub loss: LabelLoss,
}

impl Op for SoftmaxCrossEntropyLoss {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![self.loss.infer(inputs), infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut values = floats(0, x)?;
        SoftmaxAxis { axis: 1, flattens: false }.apply(x.shape(), &mut values, log_softmax)?;
        let loss = self.loss.run(x, &values, inputs.required(1)?, inputs.optional(2))?;
        Ok(vec![loss, from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }

    fn saved_outputs(&self) -> usize {
        2
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        gradients(vjp, self.loss, self.loss.ignore_index.map(Expr::int))
    }
}
