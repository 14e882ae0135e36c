//! Gradients of activations, each from the gradient of the output and one more tensor of the same shape.

use std::any::Any;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, Sample};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::erf::erf;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{positive, ramp};

/// The gradient of an activation: inputs dY and the input X or the output Y, output dX.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ActivationGrad {
    /// dY where X (or Y, which has the same sign) is positive.
    Relu,
    /// dY · Y · (1 − Y).
    Sigmoid,
    /// dY · (1 − Y²).
    Tanh,
    /// dY · (Φ(X) + X · φ(X)), Φ the normal distribution and φ its density.
    Gelu,
    /// Of Gelu's approximation by a tanh, from X.
    FastGelu,
}

impl ActivationGrad {
    /// The slope, from the second input.
    fn slope(self, v: f64) -> f64 {
        match self {
            Self::Relu => f64::from(u8::from(v > 0.0)),
            Self::Sigmoid => v * (1.0 - v),
            Self::Tanh => 1.0 - v * v,
            Self::Gelu => {
                let density = (-0.5 * v * v).exp() / (2.0 * std::f64::consts::PI).sqrt();
                0.5 * (1.0 + erf(v * std::f64::consts::FRAC_1_SQRT_2)) + v * density
            }
            Self::FastGelu => {
                let root = (2.0 / std::f64::consts::PI).sqrt();
                let t = (root * (v + 0.044715 * v.powi(3))).tanh();
                0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * root * (1.0 + 3.0 * 0.044715 * v * v)
            }
        }
    }
}

impl Op for ActivationGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs).merged(&infer_same(&Facts(&[inputs.optional(1)])))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, saved) = (inputs.required(0)?, inputs.required(1)?);
        expect_shape(1, saved, dy.shape())?;
        let pairs = floats(0, dy)?.into_iter().zip(floats(1, saved)?);
        // A gradient that is infinite does not become NaN where nothing passes.
        let product = |(dy, v)| if *self == Self::Relu && v <= 0.0 { 0.0 } else { dy * self.slope(v) };
        Ok(vec![from_f64(dy.dtype(), dy.shape().to_vec(), pairs.map(product).collect())?])
    }
}

pub(super) fn samples() -> Vec<Sample> {
    vec![Sample::new([ramp(&[2, 5]), positive(&[2, 5])]), Sample::new([ramp(&[0, 3]), ramp(&[0, 3])])]
}
