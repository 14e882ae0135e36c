//! `BatchNormInternal`: `BatchNormalization` in training, which also gives the statistics its gradient wants.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::BatchNormalization;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x, y};
use crate::numeric::from_f64;
use crate::sample_data::{positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "BatchNormInternal",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        if !node.flag_or("training_mode", true)? {
            return Err(OpError::attribute("training_mode", "must be 1"));
        }
        let norm = BatchNormalization {
            epsilon: node.float_or("epsilon", 1e-5)?,
            momentum: node.float_or("momentum", 0.9)?,
            training: true,
            per_activation: false,
        };
        Ok(Arc::new(BatchNormInternal { norm }))
    },
    samples: || {
        let sample = |x: Tensor| Sample::new([x, ramp(&[3]), ramp(&[3]), ramp(&[3]), positive(&[3])]).outputs(5);
        vec![sample(ramp(&[2, 3, 2, 2])), sample(ramp(&[4, 3])).with("epsilon", 0.1f32).with("momentum", 0.5f32)]
    },
};

/// `BatchNormInternal`: inputs x `[n, c, …]`, scale, bias, running mean and variance `[c]`; outputs y, the new running mean
/// and variance, and of this batch the mean and 1 / √(variance + epsilon).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormInternal {
    /// What it computes.
    pub norm: BatchNormalization,
}

impl Op for BatchNormInternal {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.norm.infer(inputs)
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let mut outputs = self.norm.evaluate(inputs)?;
        if let Some(variance) = outputs.pop() {
            let epsilon = f64::from(self.norm.epsilon);
            let inverse =
                variance.to_f64_vec()?.into_iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
            outputs.push(from_f64(variance.dtype(), variance.shape().to_vec(), inverse)?);
        }
        Ok(outputs)
    }

    fn saved_outputs(&self) -> usize {
        5
    }

    /// The running statistics are not differentiable.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let inputs = vec![Some(dy), Some(x(vjp, 0)?), Some(x(vjp, 1)?), Some(y(vjp, 3)?), Some(y(vjp, 4)?)];
            let attributes = lissom_graph::Attributes::new().with("epsilon", self.norm.epsilon);
            Ok(Expr::microsoft_outputs("BatchNormalizationGrad", inputs, attributes, 3).into_iter().map(Some).collect())
        })
    }
}
