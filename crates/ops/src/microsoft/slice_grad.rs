//! `SliceGrad`: the gradient of `Slice`, zero outside the slice.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use super::gather_grad::infer_gradient;
use super::scattered::scattered;
use crate::sample_data::ramp;
use crate::{IntList, Slice};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SliceGrad",
    domain: "com.microsoft",
    since: 1,
    read: |_| {
        let [starts, ends, axes, steps] = [1, 2, 3, 4].map(IntList::Input);
        Ok(Arc::new(SliceGrad { slice: Slice { starts, ends, axes, steps } }))
    },
    samples: || {
        let list = |values: &[i64]| Tensor::vector(values.to_vec());
        vec![
            Sample::new([ramp(&[2, 2]), list(&[3, 4]), list(&[1, 0]), list(&[3, -2])]),
            Sample::new([ramp(&[3, 2]), list(&[3, 4]), list(&[-1]), list(&[0]), list(&[1]), list(&[-2])]),
        ]
    },
};

/// `SliceGrad`: inputs dY, the shape of X, and of the slice the starts, ends, axes and steps; output dX.
#[derive(Debug, Clone)]
pub struct SliceGrad {
    /// The operator itself.
    pub slice: Slice,
}

impl Op for SliceGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_gradient(inputs, 0, 1)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, shape) = (inputs.required(0)?, inputs.required(1)?);
        let rest: Vec<Option<&Tensor>> = (2..6).map(|index| inputs.optional(index)).collect();
        Ok(vec![scattered(&self.slice, shape, &rest, 0, dy)?])
    }
}
