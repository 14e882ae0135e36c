//! `DropoutGrad`: the gradient of `Dropout`, of those elements that were kept.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "DropoutGrad",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(DropoutGrad)),
    samples: || {
        let inputs = || [ramp(&[3]), filled(&[3], vec![true, false, true]), Tensor::scalar(0.25f32)];
        vec![Sample::new(inputs()), Sample::new(inputs().into_iter().chain([Tensor::scalar(false)]))]
    },
};

/// `DropoutGrad`: inputs dY, which elements were kept, ratio, training mode (on unless given); output dX.
#[derive(Debug, Clone, Copy)]
pub struct DropoutGrad;

impl Op for DropoutGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, mask) = (inputs.required(0)?, inputs.required(1)?);
        expect_shape(1, mask, dy.shape())?;
        if inputs.optional(3).map_or(Ok(1), Tensor::to_i64)? == 0 {
            return Ok(vec![dy.clone()]);
        }
        let ratio = inputs.optional(2).map_or(Ok(0.5), Tensor::to_f64)?;
        if !(0.0..1.0).contains(&ratio) {
            return Err(OpError::value(format!("ratio {ratio} is not in [0, 1)")));
        }
        let pairs = floats(0, dy)?.into_iter().zip(mask.to_i64_vec()?);
        let dx = pairs.map(|(dy, kept)| if kept == 0 { 0.0 } else { dy / (1.0 - ratio) }).collect();
        Ok(vec![from_f64(dy.dtype(), dy.shape().to_vec(), dx)?])
    }
}
