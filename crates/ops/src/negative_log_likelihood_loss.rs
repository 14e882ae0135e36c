//! `NegativeLogLikelihoodLoss`: minus the log-probability of the label, weighted and reduced.
//!
//! <https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor};

use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, optional_x, rank, x};
use crate::loss::{LabelLoss, LossReduction};
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

    /// Weights of classes are taken as given.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let rank = rank(vjp, 0)?;
        of_output(vjp, |vjp, dy| {
            // Everything broadcasts to [n, c, …].
            let on_classes = |values: Expr| values.unsqueeze((1..rank as i64 - 1).collect::<Vec<_>>());
            let labels = x(vjp, 1)?.cast(DType::I64).unsqueeze([1]);
            let classes = on_classes(Expr::range(x(vjp, 0)?.length(1)));
            let mut is_label = labels.equal(classes);
            if let Some(ignored) = self.loss.ignore_index {
                let is_ignored = labels.equal(Expr::int(ignored));
                is_label = Expr::of("And", [is_label, is_ignored.apply("Not")]);
            }
            let weights = optional_x(vjp, 2).map_or(Expr::from(1.0), on_classes).when(&is_label, 0.0);
            Ok(vec![Some(-match self.loss.reduction {
                LossReduction::None => dy.unsqueeze([1]) * weights,
                LossReduction::Sum => dy * weights,
                LossReduction::Mean => dy * weights.clone() / weights.total(),
            })])
        })
    }
}
