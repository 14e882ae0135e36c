//! `MeanVarianceNormalization`: mean 0 and variance 1 over some axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Strided, Tensor, strides};

use crate::axes::axes;
use crate::elementwise::infer_same;
use crate::gradient::{Gradients, of_expansion, x};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "MeanVarianceNormalization",
    domain: "",
    since: 9,
    read: |node| Ok(Arc::new(MeanVarianceNormalization { axes: node.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]) })),
    samples: || vec![Sample::new([ramp(&[2, 3, 2, 2])]), Sample::new([ramp(&[3, 4])]).with("axes", vec![-1i64])],
};

/// Keeps the quotient finite where all values are alike, as the function body in the standard does.
const EPSILON: f64 = 1e-9;

/// `MeanVarianceNormalization`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeanVarianceNormalization {
    /// What mean and variance are taken over; may be negative.
    pub axes: Vec<i64>,
}

impl Op for MeanVarianceNormalization {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let reduced = axes(&self.axes, x.rank())?;
        let mut values = floats(0, x)?;
        if values.is_empty() {
            return Ok(vec![x.clone()]);
        }
        let kept: Vec<usize> =
            x.shape().iter().enumerate().map(|(axis, &d)| if reduced.contains(&axis) { 1 } else { d }).collect();
        let steps = strides(&kept).into_iter().enumerate();
        let steps = steps.map(|(axis, step)| if reduced.contains(&axis) { 0 } else { step as isize }).collect();
        let groups = Strided::new(x.shape().to_vec(), steps, 0);
        let n_groups: usize = kept.iter().product();
        let count = (values.len() / n_groups) as f64;
        let (mut mean, mut variance) = (vec![0.0; n_groups], vec![0.0; n_groups]);
        values.iter().zip(groups.clone()).for_each(|(x, group)| mean[group] += x / count);
        values.iter().zip(groups.clone()).for_each(|(x, group)| variance[group] += (x - mean[group]).powi(2) / count);
        let all = values.iter_mut().zip(groups);
        all.for_each(|(x, group)| *x = (*x - mean[group]) / (variance[group].sqrt() + EPSILON));
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_expansion(vjp, |vjp| {
            let data = x(vjp, 0)?;
            let centred = data.clone() - data.reduce("ReduceMean", &self.axes[..], true);
            let variance = centred.squared().reduce("ReduceMean", &self.axes[..], true);
            Ok(vec![Some(centred / (variance.apply("Sqrt") + EPSILON))])
        })
    }
}
