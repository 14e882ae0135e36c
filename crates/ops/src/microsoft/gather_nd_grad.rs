//! `GatherNDGrad`: the gradient of `GatherND`, slices added up where they were taken from.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use super::gather_grad::infer_gradient;
use super::scattered::scattered;
use crate::GatherND;
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "GatherNDGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        let batch_dims = usize::try_from(node.int_or("batch_dims", 0)?)
            .map_err(|_| OpError::attribute("batch_dims", "is negative"))?;
        Ok(Arc::new(GatherNDGrad { gather: GatherND { batch_dims } }))
    },
    samples: || vec![Sample::new([Tensor::vector(vec![2i64, 3]), filled(&[2, 1], vec![1i64, 1]), ramp(&[2, 3])])],
};

/// `GatherNDGrad`: inputs the shape of X, the indices and dY; output dX.
#[derive(Debug, Clone)]
pub struct GatherNDGrad {
    /// The operator itself.
    pub gather: GatherND,
}

impl Op for GatherNDGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_gradient(inputs, 2, 0)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, shape) = (inputs.required(2)?, inputs.required(0)?);
        let rest = [Some(inputs.required(1)?)];
        Ok(vec![scattered(&self.gather, shape, &rest, 2, dy)?])
    }
}
