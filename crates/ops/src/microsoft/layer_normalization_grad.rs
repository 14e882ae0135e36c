//! `LayerNormalizationGrad`: the gradients of `LayerNormalization`.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::normalized_axes::NormalizedAxes;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "LayerNormalizationGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(LayerNormalizationGrad { axis: node.int_or("axis", -1)? })),
    samples: || {
        let statistics = || [ramp(&[2, 3, 1]), positive(&[2, 3, 1])];
        vec![
            Sample::new([ramp(&[2, 3, 4]), positive(&[2, 3, 4]), ramp(&[4])].into_iter().chain(statistics()))
                .outputs(3),
            Sample::new([ramp(&[0, 4]), ramp(&[0, 4]), ramp(&[4]), ramp(&[0, 1]), ramp(&[0, 1])]).outputs(3),
        ]
    },
};

/// `LayerNormalizationGrad`: inputs dY, X, scale of the shape of the normalized axes, and of each row mean and
/// 1 / √(variance + epsilon); outputs dX, dScale, dBias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNormalizationGrad {
    /// First normalized axis; may be negative.
    pub axis: i64,
}

impl Op for LayerNormalizationGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let like = |index: usize| Fact::maybe(inputs.dtype(index), inputs.shape(index).map(<[_]>::to_vec));
        Ok(vec![like(1), like(2), like(2)])
    }

    /// With x̂ the normalized x and means over a row: `dBias = Σ dY`, `dScale = Σ dY · x̂`, and for `g = dY · scale`
    /// `dX = (g − mean(g) − x̂ · mean(g · x̂)) / deviation`.
    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, x, scale) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let axes = NormalizedAxes::from(x.shape(), self.axis)?;
        expect_shape(0, dy, x.shape())?;
        expect_shape(2, scale, &axes.row_shape)?;
        let statistic = |index: usize| {
            let statistic = inputs.required(index)?;
            expect_shape(index, statistic, &axes.statistic_shape)?;
            floats(index, statistic)
        };
        let (mean, inverse, scales) = (statistic(3)?, statistic(4)?, floats(2, scale)?);
        let (gradient, values) = (floats(0, dy)?, floats(1, x)?);
        let (mut to_scale, mut to_bias) = (vec![0.0; axes.length], vec![0.0; axes.length]);
        let mut to_x = Vec::with_capacity(values.len());
        let length = axes.length.max(1);
        for (row, (dy, x)) in gradient.chunks_exact(length).zip(values.chunks_exact(length)).enumerate() {
            let normalized: Vec<f64> = x.iter().map(|x| (x - mean[row]) * inverse[row]).collect();
            let (mut sum, mut product) = (0.0, 0.0);
            for (i, dy) in dy.iter().enumerate() {
                to_bias[i] += dy;
                to_scale[i] += dy * normalized[i];
                sum += dy * scales[i];
                product += dy * scales[i] * normalized[i];
            }
            let count = length as f64;
            let own =
                |(i, dy): (usize, &f64)| (dy * scales[i] - (sum + normalized[i] * product) / count) * inverse[row];
            to_x.extend(dy.iter().enumerate().map(own));
        }
        Ok(vec![
            from_f64(x.dtype(), x.shape().to_vec(), to_x)?,
            from_f64(scale.dtype(), axes.row_shape.clone(), to_scale)?,
            from_f64(scale.dtype(), axes.row_shape, to_bias)?,
        ])
    }
}
