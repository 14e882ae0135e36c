//! `LRN`: divides by a power of the mean square over neighbouring channels.
//!
//! <https://onnx.ai/onnx/operators/onnx__LRN.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "LRN",
    domain: "",
    since: 1,
    read: |node| {
        let size = node.int("size")?.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
        Ok(Arc::new(Lrn {
            size: size.ok_or_else(|| OpError::attribute("size", "must be given and positive"))?,
            alpha: node.float_or("alpha", 1e-4)?,
            beta: node.float_or("beta", 0.75)?,
            bias: node.float_or("bias", 1.0)?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[1, 5, 2, 2])]).with("size", 3i64),
            Sample::new([ramp(&[2, 4, 3])]).with("size", 4i64).with("alpha", 0.1f32).with("bias", 2.0f32),
        ]
    },
};

/// `LRN` of `[n, c, …]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lrn {
    /// Channels that are summed over.
    pub size: usize,
    /// Factor of the mean square.
    pub alpha: f32,
    /// The power.
    pub beta: f32,
    /// Added to the mean square.
    pub bias: f32,
}

impl Op for Lrn {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let &[_, channels, ..] = x.shape() else {
            return Err(OpError::shape(0, x.shape(), "expected at least 2 axes"));
        };
        let values = floats(0, x)?;
        if values.is_empty() {
            return Ok(vec![x.clone()]);
        }
        let inner: usize = x.shape()[2..].iter().product();
        let (before, after) = ((self.size - 1) / 2, (self.size - 1).div_ceil(2));
        let out = values.iter().enumerate().map(|(i, x)| {
            let channel = i / inner % channels;
            let first = channel.saturating_sub(before);
            let last = channel.saturating_add(after).min(channels - 1);
            let base = i - channel * inner;
            let square_sum: f64 = (first..=last).map(|c| values[base + c * inner].powi(2)).sum();
            let scale = f64::from(self.bias) + f64::from(self.alpha) / self.size as f64 * square_sum;
            x / scale.powf(self.beta.into())
        });
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), out.collect())?])
    }
}
