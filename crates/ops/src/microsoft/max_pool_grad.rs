//! `MaxPoolGrad`: the gradient of `MaxPool`, each value brought back to where the largest stood.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>
//!
//! ONNX Runtime takes the shape of dX from the declared type of the output; here it is a third input, so that it need not be
//! known before a run.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use super::gather_grad::infer_gradient;
use crate::constant_of_shape::shape_of;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "MaxPoolGrad",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(MaxPoolGrad)),
    samples: || {
        vec![Sample::new([ramp(&[1, 2, 2]), filled(&[1, 2, 2], vec![1i64, 1, 3, 5]), Tensor::vector(vec![1i64, 2, 3])])]
    },
};

/// `MaxPoolGrad`: inputs dY, positions in the whole of X as `MaxPool` gives them, and the shape of X; output dX.
#[derive(Debug, Clone, Copy)]
pub struct MaxPoolGrad;

impl Op for MaxPoolGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_gradient(inputs, 0, 2)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, positions) = (inputs.required(0)?, inputs.required(1)?);
        expect_shape(1, positions, dy.shape())?;
        let shape = shape_of(&inputs.required(2)?.to_i64_vec()?)?;
        let mut dx = vec![0.0; checked_len(DType::F64, &shape)?];
        for (dy, position) in floats(0, dy)?.into_iter().zip(positions.to_i64_vec()?) {
            let place = usize::try_from(position).ok().and_then(|position| dx.get_mut(position));
            *place.ok_or_else(|| OpError::value(format!("position {position} in a tensor of shape {shape:?}")))? += dy;
        }
        Ok(vec![from_f64(dy.dtype(), shape, dx)?])
    }
}
