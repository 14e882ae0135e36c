//! `BatchNormalization`: (x − mean) / √(variance + epsilon) · scale + bias, a channel at a time.
//!
//! <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attributes, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, rank, x};
use crate::numeric::{floats, from_f64};
use crate::sample_data::{positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "BatchNormalization",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        // Before opset 14 a node trains if its further outputs are asked for.
        let training = match node.opset() {
            ..7 => !node.flag_or("is_test", false)? && node.n_outputs() > 1,
            7..14 => node.n_outputs() > 1,
            _ => node.flag_or("training_mode", false)?,
        };
        Ok(Arc::new(BatchNormalization {
            epsilon: node.float_or("epsilon", 1e-5)?,
            momentum: node.float_or("momentum", 0.9)?,
            training,
            per_activation: !node.flag_or("spatial", true)?,
        }))
    },
    samples: || {
        let channels = |shift: f32| Tensor::vector((0..3).map(|i| i as f32 * 0.5 + shift).collect());
        let sample = |x: Tensor| Sample::new([x, channels(0.5), channels(-1.0), channels(0.25), positive(&[3])]);
        vec![
            sample(ramp(&[2, 3, 2, 2])),
            sample(ramp(&[4, 3])).with("epsilon", 0.1f32),
            sample(ramp(&[2, 3, 2])).with("training_mode", 1i64).outputs(3),
            sample(ramp(&[0, 3, 2])),
        ]
    },
};

/// `BatchNormalization`: inputs x `[n, c, …]`, scale, bias, mean, variance `[c]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f32,
    /// Weight of the old statistics when they are updated.
    pub momentum: f32,
    /// Normalize with the statistics of the batch, and update the given ones.
    pub training: bool,
    /// Statistics for each position instead of each channel (`spatial = 0`, until opset 8).
    pub per_activation: bool,
}

impl Op for BatchNormalization {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let y = infer_same(inputs);
        let statistics = || Fact::maybe(inputs.dtype(3), inputs.shape(3).map(<[_]>::to_vec));
        Ok(if self.training { vec![y, statistics(), statistics(), statistics(), statistics()] } else { vec![y] })
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let Some((&batch, rest)) = x.shape().split_first() else {
            return Err(OpError::shape(0, x.shape(), "expected at least one axis"));
        };
        let values = floats(0, x)?;
        let channel_len: usize = if self.per_activation || x.is_empty() { 1 } else { rest.iter().skip(1).product() };
        let n_channels = if self.per_activation { rest.iter().product() } else { rest.first().map_or(1, |&c| c) };
        let mut parameters = Vec::with_capacity(4);
        for index in 1..5 {
            let parameter = inputs.required(index)?;
            if parameter.len() != n_channels {
                return Err(OpError::shape(index, parameter.shape(), format!("expected {n_channels} channels")));
            }
            parameters.push(floats(index, parameter)?);
        }
        let [scale, bias, old_mean, old_variance] = &parameters[..] else { return Ok(Vec::new()) };
        let (mean, variance) = if self.training {
            statistics(&values, n_channels, channel_len, batch)
        } else {
            (old_mean.clone(), old_variance.clone())
        };
        let y: Vec<f64> = values
            .iter()
            .enumerate()
            .map(|(i, value)| {
                let c = i / channel_len % n_channels;
                (value - mean[c]) / (variance[c] + f64::from(self.epsilon)).sqrt() * scale[c] + bias[c]
            })
            .collect();
        let mut outputs = vec![from_f64(x.dtype(), x.shape().to_vec(), y)?];
        if self.training {
            let given = inputs.required(3)?;
            let momentum = f64::from(self.momentum);
            let mixed = |old: &[f64], new: &[f64]| {
                old.iter().zip(new).map(|(old, new)| old * momentum + new * (1.0 - momentum)).collect()
            };
            for statistic in [mixed(old_mean, &mean), mixed(old_variance, &variance), mean, variance] {
                outputs.push(from_f64(given.dtype(), given.shape().to_vec(), statistic)?);
            }
        }
        Ok(outputs)
    }

    /// In training the new statistics are not differentiable.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        if self.per_activation {
            return Err(NoGradient);
        }
        let rank = rank(vjp, 0)?;
        let axes: Vec<i64> = (0..rank as i64).filter(|&axis| axis != 1).collect();
        let epsilon = f64::from(self.epsilon);
        of_output(vjp, |vjp, dy| {
            let (data, scale) = (x(vjp, 0)?, x(vjp, 1)?);
            let inverse = |variance: Expr| (variance + epsilon).apply("Sqrt").apply("Reciprocal");
            let channel_mean = |x: Expr| x.reduce("ReduceMean", axes.clone(), false);
            if self.training {
                let mean = channel_mean(data.clone());
                let inverse = inverse(channel_mean((data.clone() - mean.clone().on_channels(rank)).squared()));
                let inputs = [dy, data, scale, mean, inverse].map(Some).to_vec();
                let all = Expr::microsoft_outputs("BatchNormalizationGrad", inputs, Attributes::new(), 3);
                return Ok(all.into_iter().map(Some).collect());
            }
            let (mean, inverse) = (x(vjp, 3)?, inverse(x(vjp, 4)?));
            let slope = scale * inverse.clone();
            let normalized = (data - mean.on_channels(rank)) * inverse.clone().on_channels(rank);
            let to_scale = (dy.clone() * normalized).sum(axes.clone(), false);
            let to_bias = dy.clone().sum(axes.clone(), false);
            let to_mean = -(to_bias.clone() * slope.clone());
            let to_variance = to_scale.clone() * slope.clone() * inverse * -0.5;
            let to_x = dy * slope.on_channels(rank);
            Ok([to_x, to_scale, to_bias, to_mean, to_variance].map(Some).to_vec())
        })
    }
}

/// Mean and population variance of each channel.
fn statistics(x: &[f64], n_channels: usize, channel_len: usize, batch: usize) -> (Vec<f64>, Vec<f64>) {
    let count = (batch * channel_len) as f64;
    let channel = |i: usize| i / channel_len % n_channels;
    let mut mean = vec![0.0; n_channels];
    x.iter().enumerate().for_each(|(i, value)| mean[channel(i)] += value / count);
    let mut variance = vec![0.0; n_channels];
    x.iter().enumerate().for_each(|(i, value)| variance[channel(i)] += (value - mean[channel(i)]).powi(2) / count);
    (mean, variance)
}
