//! `StepQuantizeGrad`: the gradients of [`StepQuantize`], those of learned step size quantization (Esser et al., ICLR 2020,
//! arXiv:1902.08153).
//!
//! With t = v / s: `dv = dy` where `min < t < max`, else 0; `ds = gradient_scale · Σ dy · (rne(t) − t inside, min below, max above)`.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::StepQuantize;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::ramp;
use crate::step_quantize::DOMAIN;

pub(crate) const OP: OpSpec = OpSpec {
    name: "StepQuantizeGrad",
    domain: DOMAIN,
    since: 1,
    read: |node| Ok(Arc::new(StepQuantizeGrad(StepQuantize::read(node)?))),
    samples: || {
        let sample = |shape: &[usize], step| {
            Sample::new([ramp(shape), ramp(shape), step]).with("min", -7i64).with("max", 7i64).outputs(2)
        };
        vec![
            sample(&[2, 3, 2], Tensor::scalar(0.25f32)),
            sample(&[3, 5], Tensor::vector(vec![0.25f32, 0.5, 0.125])).with("axis", 0i64),
            sample(&[0, 2], Tensor::vector(vec![0.25f32, 0.5])).with("gradient_scale", 0.5f32),
        ]
    },
};

/// `StepQuantizeGrad`: inputs dY, and v and the step of the forward pass; outputs dv, and the gradient of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepQuantizeGrad(
    /// The operator whose gradient it is.
    pub StepQuantize,
);

impl Op for StepQuantizeGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let like = |index: usize| Fact::maybe(inputs.dtype(index), inputs.shape(index).map(<[_]>::to_vec));
        Ok(vec![like(1), like(2)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, v, step) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        expect_shape(0, dy, v.shape())?;
        let positions = self.0.positions(v.shape(), step)?;
        let (gradients, values, steps) = (floats(0, dy)?, floats(1, v)?, floats(2, step)?);
        let (min, max) = (self.0.min as f64, self.0.max as f64);
        let mut to_step = vec![0.0; steps.len()];
        let mut to_v = Vec::with_capacity(values.len());
        for (i, (&dy, &v)) in gradients.iter().zip(&values).enumerate() {
            let at = positions.of(i);
            let (steps, code) = self.0.code(v, steps[at]);
            let is_inside = min < steps && steps < max;
            to_v.push(if is_inside { dy } else { 0.0 });
            to_step[at] += dy * if is_inside { code - steps } else { code };
        }
        to_step.iter_mut().for_each(|sum| *sum *= f64::from(self.0.gradient_scale));
        Ok(vec![
            from_f64(v.dtype(), v.shape().to_vec(), to_v)?,
            from_f64(step.dtype(), step.shape().to_vec(), to_step)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradients(v: &[f32], dy: &[f32], (min, max): (i64, i64), scale: f32) -> (Vec<f32>, f32) {
        let op = StepQuantizeGrad(StepQuantize { axis: 0, min, max, gradient_scale: scale });
        let (dy, v, step) = (Tensor::vector(dy.to_vec()), Tensor::vector(v.to_vec()), Tensor::scalar(0.5f32));
        let made = op.evaluate(&Inputs(&[Some(&dy), Some(&v), Some(&step)])).unwrap();
        (made[0].to_f32_vec().unwrap(), made[1].to_f32_vec().unwrap()[0])
    }

    #[test]
    fn the_three_regions_follow_the_closed_form() {
        // t = -9, -8 (the border is outside), 0.8, 7 (outside too), 20; codes of 4 bits.
        let (dv, ds) = gradients(&[-4.5, -4.0, 0.4, 3.5, 10.0], &[1.0, 2.0, 3.0, 4.0, 5.0], (-8, 7), 0.25);
        assert_eq!(dv, [0.0, 0.0, 3.0, 0.0, 0.0]);
        let expected = 0.25 * (-8.0 - 16.0 + 3.0 * (1.0 - 0.8) + 28.0 + 35.0);
        assert!((ds - expected).abs() < 1e-5, "{ds} {expected}");
    }

    #[test]
    fn on_the_grid_the_step_gets_nothing() {
        assert_eq!(gradients(&[0.5, -1.0, 1.5, 0.0], &[1.0, 1.0, 1.0, 1.0], (-8, 7), 1.0).1, 0.0);
    }

    #[test]
    fn unsigned_codes_pass_nothing_at_and_below_zero() {
        let (dv, ds) = gradients(&[-1.0, 0.0, 0.6, 7.5], &[1.0; 4], (0, 15), 1.0);
        assert_eq!(dv, [0.0, 0.0, 1.0, 0.0]);
        assert!((ds - (-0.2 + 15.0)).abs() < 1e-6);
    }

    #[test]
    fn values_spread_evenly_inside_give_the_step_nothing_on_average() {
        let v: Vec<f32> = (0..12_000).map(|i| (i as f32 + 0.5) / 12_000.0 * 6.0 - 3.0).collect();
        let (_, ds) = gradients(&v, &vec![1.0; v.len()], (-8, 7), 1.0);
        assert!(ds.abs() < 1e-2, "{ds}");
    }
}
