//! `GatherElementsGrad`: the gradient of `GatherElements`, elements added up where they were taken from.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use super::gather_grad::infer_gradient;
use super::scattered::scattered;
use crate::GatherElements;
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "GatherElementsGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(GatherElementsGrad { gather: GatherElements { axis: node.int_or("axis", 0)? } })),
    samples: || {
        vec![Sample::new([ramp(&[2, 2]), Tensor::vector(vec![3i64, 2]), filled(&[2, 2], vec![0i64, 1, -1, 0])])]
    },
};

/// `GatherElementsGrad`: inputs dY, the shape of X and the indices; output dX.
#[derive(Debug, Clone)]
pub struct GatherElementsGrad {
    /// The operator itself.
    pub gather: GatherElements,
}

impl Op for GatherElementsGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_gradient(inputs, 0, 1)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, shape) = (inputs.required(0)?, inputs.required(1)?);
        let rest = [Some(inputs.required(2)?)];
        Ok(vec![scattered(&self.gather, shape, &rest, 0, dy)?])
    }
}
