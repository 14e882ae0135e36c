//! `Momentum` (preview): one step of gradient descent with momentum.
//!
//! <https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Momentum.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::optimizer::{Optimized, infer_optimized};
use crate::sample_data::{positive, ramp};

/// Lists of tensors: optimized, gradients, states.
const LISTS: usize = 3;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Momentum",
    domain: "ai.onnx.preview.training",
    since: 1,
    read: |node| {
        let required = |name| node.float(name)?.ok_or_else(|| OpError::attribute(name, "is required"));
        let is_nesterov = match node.string_or("mode", "standard")?.as_str() {
            "standard" => false,
            "nesterov" => true,
            other => return Err(OpError::attribute("mode", format!("unknown value `{other}`"))),
        };
        Ok(Arc::new(Momentum {
            alpha: required("alpha")?,
            beta: required("beta")?,
            norm_coefficient: required("norm_coefficient")?,
            is_nesterov,
        }))
    },
    samples: || {
        let scalars = || [Tensor::scalar(0.1f32), Tensor::scalar(2i64)];
        let tensors = |shape: &[usize]| vec![ramp(shape), ramp(shape), positive(shape), positive(shape)];
        let inputs = |shape: &[usize]| scalars().into_iter().chain(tensors(shape).into_iter().take(LISTS));
        vec![
            Sample::new(inputs(&[3, 2]))
                .with("norm_coefficient", 0.01f32)
                .with("alpha", 0.9f32)
                .with("beta", 0.5f32)
                .with("mode", "nesterov")
                .outputs(LISTS - 1),
            Sample::new(inputs(&[0]))
                .with("norm_coefficient", 0.0f32)
                .with("alpha", 0.9f32)
                .with("beta", 0.5f32)
                .with("mode", "nesterov")
                .outputs(LISTS - 1),
        ]
    },
};

/// `Momentum`: inputs rate, steps so far, then the lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Momentum {
    /// Decay of the momentum.
    pub alpha: f32,
    /// Factor of the gradient after the first step.
    pub beta: f32,
    /// Factor of the L2 penalty.
    pub norm_coefficient: f32,
    /// Nesterov's form.
    pub is_nesterov: bool,
}

impl Op for Momentum {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(infer_optimized(inputs, LISTS))
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let optimized = Optimized::read(inputs, LISTS)?;
        let [alpha, norm] = [self.alpha, self.norm_coefficient].map(f64::from);
        let beta = if optimized.count > 0.0 { f64::from(self.beta) } else { 1.0 };
        let rate = optimized.rate;
        optimized.run(|row| {
            let [x, gradient, momentum] = row else { return };
            let gradient = norm * *x + *gradient;
            *momentum = alpha * *momentum + beta * gradient;
            *x -= rate * if self.is_nesterov { gradient + alpha * *momentum } else { *momentum };
        })
    }
}
