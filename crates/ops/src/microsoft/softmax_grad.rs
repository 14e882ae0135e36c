//! `SoftmaxGrad`: the gradient of `Softmax` from its output, all axes from one on taken together (until opset 12).
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{Tensor, checked_len};

use crate::SoftmaxAxis;
use crate::elementwise::infer_same;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SoftmaxGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| SoftmaxGrad::read(node, true, false),
    samples,
};

/// The gradient of a softmax: inputs dY and Y, output dX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftmaxGrad {
    /// Where it runs.
    pub axis: SoftmaxAxis,
    /// Of its logarithm.
    pub is_log: bool,
}

impl SoftmaxGrad {
    pub(super) fn read(node: &NodeReader<'_>, flattens: bool, is_log: bool) -> Result<Arc<dyn Op>, OpError> {
        let axis = node.int_or("axis", if flattens { 1 } else { -1 })?;
        Ok(Arc::new(Self { axis: SoftmaxAxis { axis, flattens }, is_log }))
    }
}

impl Op for SoftmaxGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs).merged(&infer_same(&Facts(&[inputs.optional(1)])))])
    }

    /// `dX = Y · (dY − Σ dY · Y)`, and of the logarithm `dX = dY − exp(Y) · Σ dY`.
    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, y) = (inputs.required(0)?, inputs.required(1)?);
        expect_shape(1, y, dy.shape())?;
        checked_len(lissom_tensor::DType::F64, dy.shape())?;
        let mut probabilities = floats(1, y)?;
        if self.is_log {
            probabilities.iter_mut().for_each(|p| *p = p.exp());
        }
        let gradient = floats(0, dy)?;
        let mut sums: Vec<f64> = match self.is_log {
            true => gradient.clone(),
            false => gradient.iter().zip(&probabilities).map(|(dy, p)| dy * p).collect(),
        };
        self.axis.apply(dy.shape(), &mut sums, |vector| {
            let sum = vector.iter().sum();
            vector.fill(sum);
        })?;
        let joined = gradient.iter().zip(&probabilities).zip(&sums);
        let dx = joined.map(|((dy, p), sum)| if self.is_log { dy - p * sum } else { p * (dy - sum) }).collect();
        Ok(vec![from_f64(dy.dtype(), dy.shape().to_vec(), dx)?])
    }
}

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new([ramp(&[2, 3, 2]), positive(&[2, 3, 2])]).with("axis", 1i64),
        Sample::new([ramp(&[3, 0]), ramp(&[3, 0])]),
    ]
}
