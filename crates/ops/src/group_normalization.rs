//! `GroupNormalization`: normalizes each group of channels of each image, then scales and shifts.
//!
//! <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, normalized, of_expansion, rank, x};
use crate::instance_normalization::normalize;
use crate::normalized_axes::read_stash_type;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "GroupNormalization",
    domain: "",
    since: 18,
    read: |node| {
        read_stash_type(node)?; // everything is computed in f64
        let groups = node.int("num_groups")?.and_then(|groups| usize::try_from(groups).ok());
        let groups = groups.filter(|&groups| groups > 0);
        Ok(Arc::new(GroupNormalization {
            groups: groups.ok_or_else(|| OpError::attribute("num_groups", "must be given and positive"))?,
            epsilon: node.float_or("epsilon", 1e-5)?,
            per_group: node.opset() < 21,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 4, 3]), ramp(&[4]), ramp(&[4])]).with("num_groups", 2i64),
            Sample::new([ramp(&[1, 3, 2, 2]), ramp(&[3]), ramp(&[3])]).with("num_groups", 3i64),
        ]
    },
};

/// `GroupNormalization`: inputs x `[n, c, …]`, scale and bias `[c]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormalization {
    /// Number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Scale and bias are `[groups]` (until opset 20).
    pub per_group: bool,
}

impl Op for GroupNormalization {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, scale, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let &[_, channels, ..] = x.shape() else {
            return Err(OpError::shape(0, x.shape(), "expected at least 2 axes"));
        };
        if channels % self.groups != 0 {
            return Err(OpError::shape(0, x.shape(), format!("{channels} channels in {} groups", self.groups)));
        }
        let n_scales = if self.per_group { self.groups } else { channels };
        expect_shape(1, scale, &[n_scales])?;
        expect_shape(2, bias, &[n_scales])?;
        let (mut values, scale, bias) = (floats(0, x)?, floats(1, scale)?, floats(2, bias)?);
        if x.is_empty() {
            return Ok(vec![x.clone()]);
        }
        let image_len: usize = x.shape()[2..].iter().product();
        for group in values.chunks_exact_mut(channels / self.groups * image_len) {
            normalize(group, self.epsilon.into());
        }
        for (i, image) in values.chunks_exact_mut(image_len).enumerate() {
            let at = i % channels * n_scales / channels;
            image.iter_mut().for_each(|x| *x = *x * scale[at] + bias[at]);
        }
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let rank = rank(vjp, 0)?;
        of_expansion(vjp, |vjp| {
            let (data, scale, bias) = (x(vjp, 0)?, x(vjp, 1)?, x(vjp, 2)?);
            let groups = data.clone().reshape(Expr::ints([0, self.groups as i64, -1]));
            let groups = normalized(groups, &[2], self.epsilon.into());
            Ok(vec![Some(if self.per_group {
                (groups * scale.on_channels(3) + bias.on_channels(3)).reshape_like(&data)
            } else {
                groups.reshape_like(&data) * scale.on_channels(rank) + bias.on_channels(rank)
            })])
        })
    }
}
