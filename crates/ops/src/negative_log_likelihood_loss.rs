//! `NegativeLogLikelihoodLoss`: minus the log-probability of the label, weighted and reduced.
//!
//! <https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::loss::LabelLoss;
use crate::numeric::floats;
use crate::sample_data::{filled, positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "NegativeLogLikelihoodLoss",
    domain: "",
    since: 12,
    read: |node| Ok(Arc::new(NegativeLogLikelihoodLoss { loss: LabelLoss::read(node)? })),
    samples: || {
        vec![
            Sample::new([ramp(&[3, 4]), Tensor::vector(vec![0i64, 3, 1])]),
            Sample::new([ramp(&[2, 3, 2]), filled(&[2, 2], vec![0i32, 2, -1, 1]), positive(&[3])])
                .with("reduction", "none")
                .with("ignore_index", -1i64),
        ]
    },
};

/// `NegativeLogLikelihoodLoss`: inputs log-probabilities `[n, c, …]`, labels `[n, …]`, class weights `[c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegativeLogLikelihoodLoss {
    /// Reduction and ignored label.
    pub loss: LabelLoss,
}

impl Op for NegativeLogLikelihoodLoss {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![self.loss.infer(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        Ok(vec![self.loss.run(x, &floats(0, x)?, inputs.required(1)?, inputs.optional(2))?])
    }
}
