//! `LayerNormalization`: normalizes over all axes from one on, then scales and shifts.
//!
//! <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attributes, Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor};

use crate::axes::axis;
use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, normalized, of_expansion, of_output, optional_x, x, y};
use crate::normalized_axes::{NormalizedAxes, spread};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "LayerNormalization",
    domain: "",
    since: 17,
    read: |node| {
        Ok(Arc::new(LayerNormalization {
            axis: node.int_or("axis", -1)?,
            epsilon: node.float_or("epsilon", 1e-5)?,
            stash_type: crate::normalized_axes::read_stash_type(node)?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 3, 4]), ramp(&[4]), ramp(&[4])]).outputs(3),
            Sample::new([ramp(&[2, 3, 4]), ramp(&[3, 4])]).with("axis", 1i64).with("epsilon", 0.1f32),
            Sample::new([ramp(&[0, 4]), ramp(&[4])]),
        ]
    },
};

/// `LayerNormalization`: outputs y, and mean and 1 / standard deviation with the normalized axes of length 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNormalization {
    /// First normalized axis; may be negative.
    pub axis: i64,
    /// Added to the variance.
    pub epsilon: f32,
    /// Type of the statistics.
    pub stash_type: DType,
}

impl Op for LayerNormalization {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let statistic = match inputs.shape(0) {
            Some(x) => {
                let first = axis(self.axis, x.len())?;
                let dims = x.iter().enumerate().map(|(i, dim)| if i < first { dim.clone() } else { Dim::Known(1) });
                Fact::new(self.stash_type, dims.collect())
            }
            None => Fact::maybe(Some(self.stash_type), None),
        };
        Ok(vec![infer_same(inputs), statistic.clone(), statistic])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, scale) = (inputs.required(0)?, inputs.required(1)?);
        let axes = NormalizedAxes::from(x.shape(), self.axis)?;
        let mut values = floats(0, x)?;
        let scale = spread(1, scale, &axes)?;
        let bias = inputs.optional(2).map(|bias| spread(2, bias, &axes)).transpose()?;
        let (mut means, mut deviations) = (Vec::new(), Vec::new());
        for row in values.chunks_exact_mut(axes.length.max(1)) {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let inverse = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
            for (i, x) in row.iter_mut().enumerate() {
                *x = (*x - mean) * inverse * scale[i] + bias.as_ref().map_or(0.0, |bias| bias[i]);
            }
            means.push(mean);
            deviations.push(inverse);
        }
        means.resize(axes.n_rows, f64::NAN);
        deviations.resize(axes.n_rows, f64::NAN);
        Ok(vec![
            from_f64(x.dtype(), x.shape().to_vec(), values)?,
            from_f64(self.stash_type, axes.statistic_shape.clone(), means)?,
            from_f64(self.stash_type, axes.statistic_shape, deviations)?,
        ])
    }

    fn saved_outputs(&self) -> usize {
        3
    }

    /// The statistics are not differentiable.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let dims = vjp.facts.shape(0).ok_or(NoGradient)?;
        let first = axis(self.axis, dims.len()).map_err(|_| NoGradient)?;
        if vjp.facts.shape(1) == Some(&dims[first..]) && vjp.facts.shape(2).is_none_or(|bias| bias == &dims[first..]) {
            return of_output(vjp, |vjp, dy| {
                let inputs = [dy, x(vjp, 0)?, x(vjp, 1)?, y(vjp, 1)?, y(vjp, 2)?].map(Some).to_vec();
                let attributes = Attributes::new().with("axis", self.axis);
                Ok(Expr::microsoft_outputs("LayerNormalizationGrad", inputs, attributes, 3)
                    .into_iter()
                    .map(Some)
                    .collect())
            });
        }
        let axes: Vec<i64> = (first as i64..dims.len() as i64).collect();
        of_expansion(vjp, |vjp| {
            let scaled = normalized(x(vjp, 0)?, &axes, self.epsilon.into()) * x(vjp, 1)?;
            Ok(vec![Some(match optional_x(vjp, 2) {
                Some(bias) => scaled + bias,
                None => scaled,
            })])
        })
    }
}
