//! `SkipLayerNormalization`: layer normalization of a sum.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor, broadcast_shapes, flat_indices};

use crate::LayerNormalization;
use crate::elementwise::infer_same;
use crate::gradient::{Gradients, normalized, of_expansion, optional_x, x};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "SkipLayerNormalization",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        let epsilon = node.float_or("epsilon", 1e-12)?;
        Ok(Arc::new(SkipLayerNormalization { norm: LayerNormalization { axis: -1, epsilon, stash_type: DType::F32 } }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 3, 4]), ramp(&[2, 3, 4]), ramp(&[4]), ramp(&[4]), ramp(&[4])])
                .with("epsilon", 1e-5f32)
                .outputs(4),
            Sample::new([ramp(&[2, 3, 4]), ramp(&[1, 3, 4]), ramp(&[4])]),
        ]
    },
};

/// `SkipLayerNormalization`: inputs x, skip, scale, shift, bias; outputs y, mean, 1 / standard deviation, the sum.
#[derive(Debug, Clone, Copy)]
struct SkipLayerNormalization {
    norm: LayerNormalization,
}

impl Op for SkipLayerNormalization {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let mut facts = self.norm.infer(inputs)?;
        facts.push(infer_same(inputs));
        Ok(facts)
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut values = floats(0, x)?;
        for index in [1, 4] {
            let added = if index == 1 { Some(inputs.required(1)?) } else { inputs.optional(index) };
            let Some(added) = added else { continue };
            if broadcast_shapes(added.shape(), x.shape())? != x.shape() {
                return Err(OpError::shape(index, added.shape(), format!("does not broadcast to {:?}", x.shape())));
            }
            let summands = floats(index, added)?;
            if !x.is_empty() {
                values.iter_mut().zip(flat_indices(added.shape(), x.shape())).for_each(|(x, i)| *x += summands[i]);
            }
        }
        let sum = from_f64(x.dtype(), x.shape().to_vec(), values)?;
        let own = [Some(&sum), Some(inputs.required(2)?), inputs.optional(3)];
        let mut outputs = self.norm.evaluate(&Inputs(&own))?;
        outputs.push(sum);
        Ok(outputs)
    }

    /// The statistics are not differentiable.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_expansion(vjp, |vjp| {
            let mut sum = x(vjp, 0)? + x(vjp, 1)?;
            if let Some(bias) = optional_x(vjp, 4) {
                sum = sum + bias;
            }
            let mut y = normalized(sum.clone(), &[-1], self.norm.epsilon.into()) * x(vjp, 2)?;
            if let Some(shift) = optional_x(vjp, 3) {
                y = y + shift;
            }
            Ok(vec![Some(y), None, None, Some(sum)])
        })
    }
}
