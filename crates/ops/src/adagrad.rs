//! `Adagrad` (preview): one step of gradient descent scaled by past squared gradients (Duchi et al. 2011).
//!
//! <https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adagrad.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::optimizer::{Optimized, infer_optimized};
use crate::sample_data::{positive, ramp};

/// Lists of tensors: optimized, gradients, states.
const LISTS: usize = 3;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Adagrad",
    domain: "ai.onnx.preview.training",
    since: 1,
    read: |node| {
        Ok(Arc::new(Adagrad {
            norm_coefficient: node.float_or("norm_coefficient", 0.0)?,
            decay_factor: node.float_or("decay_factor", 0.0)?,
            epsilon: node.float_or("epsilon", 1e-6)?,
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

/// `Adagrad`: inputs rate, steps so far, then the lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adagrad {
    /// Factor of the L2 penalty.
    pub norm_coefficient: f32,
    /// How fast the learning rate falls with the steps.
    pub decay_factor: f32,
    /// Keeps the quotient finite.
    pub epsilon: f32,
}

impl Op for Adagrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(infer_optimized(inputs, LISTS))
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let optimized = Optimized::read(inputs, LISTS)?;
        let [norm, decay, epsilon] = [self.norm_coefficient, self.decay_factor, self.epsilon].map(f64::from);
        let rate = optimized.rate / (1.0 + optimized.count * decay);
        optimized.run(|row| {
            let [x, gradient, squares] = row else { return };
            let gradient = norm * *x + *gradient;
            *squares += gradient * gradient;
            *x -= rate * gradient / (squares.sqrt() + epsilon);
        })
    }
}
