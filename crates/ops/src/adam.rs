//! `Adam` (preview): one step with running means of gradients and their squares (Kingma and Ba 2014).
//!
//! <https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adam.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::optimizer::{Optimized, infer_optimized};
use crate::sample_data::{positive, ramp};

/// Lists of tensors: optimized, gradients, states.
const LISTS: usize = 4;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Adam",
    domain: "ai.onnx.preview.training",
    since: 1,
    read: |node| {
        Ok(Arc::new(Adam {
            alpha: node.float_or("alpha", 0.9)?,
            beta: node.float_or("beta", 0.999)?,
            epsilon: node.float_or("epsilon", 1e-6)?,
            norm_coefficient: node.float_or("norm_coefficient", 0.0)?,
            norm_coefficient_post: node.float_or("norm_coefficient_post", 0.0)?,
        }))
    },
    samples: || {
        let scalars = || [Tensor::scalar(0.1f32), Tensor::scalar(2i64)];
        let tensors = |shape: &[usize]| vec![ramp(shape), ramp(shape), positive(shape), positive(shape)];
        let inputs = |shape: &[usize]| scalars().into_iter().chain(tensors(shape).into_iter().take(LISTS));
        vec![
            Sample::new(inputs(&[3, 2])).with("norm_coefficient", 0.01f32).outputs(LISTS - 1),
            Sample::new(inputs(&[0])).with("norm_coefficient", 0.0f32).outputs(LISTS - 1),
        ]
    },
};

/// `Adam`: inputs rate, steps so far, then the lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Decay of the mean of gradients.
    pub alpha: f32,
    /// Decay of the mean of squared gradients.
    pub beta: f32,
    /// Keeps the quotient finite.
    pub epsilon: f32,
    /// Factor of the L2 penalty before the step.
    pub norm_coefficient: f32,
    /// Share the result is shrunk by after the step.
    pub norm_coefficient_post: f32,
}

impl Op for Adam {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(infer_optimized(inputs, LISTS))
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let optimized = Optimized::read(inputs, LISTS)?;
        let [alpha, beta, epsilon] = [self.alpha, self.beta, self.epsilon].map(f64::from);
        let [norm, norm_post] = [self.norm_coefficient, self.norm_coefficient_post].map(f64::from);
        let steps = optimized.count;
        let correction = (1.0 - beta.powf(steps)).sqrt() / (1.0 - alpha.powf(steps));
        let rate = if steps > 0.0 { optimized.rate * correction } else { optimized.rate };
        optimized.run(|row| {
            let [x, gradient, mean, squares] = row else { return };
            let gradient = norm * *x + *gradient;
            *mean = alpha * *mean + (1.0 - alpha) * gradient;
            *squares = beta * *squares + (1.0 - beta) * gradient * gradient;
            *x = (1.0 - norm_post) * (*x - rate * *mean / (squares.sqrt() + epsilon));
        })
    }
}
