//! `RMSNormalization`: divides by the root mean square over all axes from one on, then scales.
//!
//! <https://onnx.ai/onnx/operators/onnx__RMSNormalization.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::axes::axis;
use crate::elementwise::infer_same;
use crate::gradient::{Gradients, of_expansion, rank, x};
use crate::normalized_axes::{NormalizedAxes, read_stash_type, spread};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "RMSNormalization",
    domain: "",
    since: 23,
    read: |node| {
        read_stash_type(node)?; // everything is computed in f64
        Ok(Arc::new(RmsNormalization { axis: node.int_or("axis", -1)?, epsilon: node.float_or("epsilon", 1e-5)? }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 3, 4]), ramp(&[4])]),
            Sample::new([ramp(&[2, 3, 4]), ramp(&[3, 1])]).with("axis", 1i64).with("epsilon", 0.1f32),
            Sample::new([ramp(&[0, 4]), ramp(&[4])]),
        ]
    },
};

/// `RMSNormalization`: inputs x, scale. The result has the type of the scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsNormalization {
    /// First normalized axis; may be negative.
    pub axis: i64,
    /// Added to the mean square.
    pub epsilon: f32,
}

impl Op for RmsNormalization {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { dtype: inputs.dtype(1), ..infer_same(inputs) }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, scale) = (inputs.required(0)?, inputs.required(1)?);
        let axes = NormalizedAxes::from(x.shape(), self.axis)?;
        let mut values = floats(0, x)?;
        let factors = spread(1, scale, &axes)?;
        for row in values.chunks_exact_mut(axes.length.max(1)) {
            let mean_square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let root = (mean_square + f64::from(self.epsilon)).sqrt();
            row.iter_mut().zip(&factors).for_each(|(x, scale)| *x = *x / root * scale);
        }
        Ok(vec![from_f64(scale.dtype(), x.shape().to_vec(), values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let rank = rank(vjp, 0)?;
        let first = axis(self.axis, rank).map_err(|_| NoGradient)?;
        let axes: Vec<i64> = (first as i64..rank as i64).collect();
        of_expansion(vjp, |vjp| {
            let data = x(vjp, 0)?;
            let mean_square = data.squared().reduce("ReduceMean", axes, true);
            Ok(vec![Some(data / (mean_square + f64::from(self.epsilon)).apply("Sqrt") * x(vjp, 1)?)])
        })
    }
}
