//! `StepQuantize`: what quantization leaves of real numbers, as networks see it in training: `s · clamp(rne(v / s), min, max)`.
//!
//! Of this project, for training graphs alone; what is written has `QuantizeLinear` and `DequantizeLinear`. ONNX Runtime's `FakeQuant`
//! knows one step a tensor, keeps a mask as large as its input, and gives the step no gradient.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, NodeReader, Op, OpError, OpSpec, Sample, ValueId, Vjp};
use lissom_tensor::Tensor;

use crate::expression::Expr;
use crate::gradient::{dy, emit, x};
use crate::numeric::{floats, from_f64};
use crate::quantization::{Granularity, Positions};
use crate::sample_data::ramp;

/// The domain of operators that only training graphs have.
pub(crate) const DOMAIN: &str = "lissom";

pub(crate) const OP: OpSpec = OpSpec {
    name: "StepQuantize",
    domain: DOMAIN,
    since: 1,
    read: |node| Ok(Arc::new(StepQuantize::read(node)?)),
    samples: || {
        let signed = |v: Tensor, step| Sample::new([v, step]).with("min", -7i64).with("max", 7i64);
        vec![
            signed(ramp(&[2, 3, 2]), Tensor::scalar(0.25f32)),
            signed(ramp(&[3, 5]), Tensor::vector(vec![0.25f32, 0.5, 0.125])).with("axis", 0i64),
            signed(ramp(&[3, 2]), Tensor::vector(vec![0.25f32, 0.5]))
                .with("axis", -1i64)
                .with("gradient_scale", 0.5f32),
            Sample::new([ramp(&[0, 2]), Tensor::scalar(0.25f32)]).with("min", 0i64).with("max", 15i64),
        ]
    },
};

/// `StepQuantize`: inputs v, and the step, > 0: one number, or one for each position of `axis`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepQuantize {
    /// The axis of a vector of steps; may be negative.
    pub axis: i64,
    /// Smallest code.
    pub min: i64,
    /// Largest code.
    pub max: i64,
    /// What the gradient of the step is multiplied with.
    pub gradient_scale: f32,
}

impl StepQuantize {
    pub(crate) fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let (min, max) = (node.int_or("min", -128)?, node.int_or("max", 127)?);
        if min >= max || min < -(1 << 20) || max > 1 << 20 {
            return Err(OpError::attribute("max", format!("codes from {min} to {max}")));
        }
        let (axis, gradient_scale) = (node.int_or("axis", 1)?, node.float_or("gradient_scale", 1.0)?);
        Ok(Self { axis, min, max, gradient_scale })
    }

    /// Where the step of each element stands.
    pub(crate) fn positions(&self, shape: &[usize], step: &Tensor) -> Result<Positions, OpError> {
        Granularity { axis: self.axis, block_size: 0 }.positions(shape, step)
    }

    /// v in steps, and its code.
    pub(crate) fn code(&self, v: f64, step: f64) -> (f64, f64) {
        let steps = v / step;
        (steps, steps.round_ties_even().clamp(self.min as f64, self.max as f64))
    }
}

impl Op for StepQuantize {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(inputs.dtype(0), inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (v, step) = (inputs.required(0)?, inputs.required(1)?);
        let positions = self.positions(v.shape(), step)?;
        let (values, steps) = (floats(0, v)?, floats(1, step)?);
        let of = |(i, &v): (usize, &f64)| {
            let step = steps[positions.of(i)];
            step * self.code(v, step).1
        };
        Ok(vec![from_f64(v.dtype(), v.shape().to_vec(), values.iter().enumerate().map(of).collect())?])
    }

    /// Straight through inside of the range, nothing outside; the step's as `StepQuantizeGrad` says.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Result<Vec<Option<ValueId>>, NoGradient> {
        let Some(dy) = dy(vjp, 0) else { return Ok(vec![None; vjp.inputs.len()]) };
        let (v, step) = (x(vjp, 0)?, x(vjp, 1)?);
        let attributes = lissom_graph::Attributes::new()
            .with("axis", self.axis)
            .with("min", self.min)
            .with("max", self.max)
            .with("gradient_scale", self.gradient_scale);
        let inputs = vec![Some(dy), Some(v), Some(step)];
        let gradients = Expr::outputs_of(DOMAIN, "StepQuantizeGrad", inputs, attributes, 2);
        emit(vjp, gradients.into_iter().map(Some))
    }
}
