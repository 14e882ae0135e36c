//! `ResizeGrad`: the gradient of `Resize`, each value brought back to the positions it was made from.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>
//!
//! ONNX Runtime has a gradient of `Resize` from the same first inputs; the sizes, a fifth one, are its input where no scales
//! are given.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::Resize;
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "ResizeGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(ResizeGrad { resize: Resize::read_11(node)? })),
    samples: || {
        let scales = Tensor::vector(vec![1f32, 1.0, 2.0, 0.5]);
        let inputs = [Some(ramp(&[1, 1, 6, 2])), Some(ramp(&[1, 1, 3, 4])), None, Some(scales)];
        vec![Sample { inputs: inputs.to_vec(), ..Sample::new([]) }.with("mode", "linear")]
    },
};

/// `ResizeGrad`: inputs dY, X, region, scales and sizes; output dX.
#[derive(Debug, Clone)]
pub struct ResizeGrad {
    /// The operator itself.
    pub resize: Resize,
}

impl Op for ResizeGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(inputs.dtype(1), inputs.shape(1).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let own = Inputs(inputs.0.get(1..).unwrap_or_default());
        Ok(vec![self.resize.transposed(inputs.required(0)?, &own)?])
    }
}
