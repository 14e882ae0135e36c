//! `BroadcastGradientArgs`: the axes along which tensors of two shapes are broadcast to each other.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::constant_of_shape::shape_of;

pub(crate) const OP: OpSpec = OpSpec {
    name: "BroadcastGradientArgs",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(BroadcastGradientArgs)),
    samples: || {
        let shape = |lengths: &[i64]| Tensor::vector(lengths.to_vec());
        vec![
            Sample::new([shape(&[2, 16, 1, 1024]), shape(&[1, 1024, 1024])]).outputs(2),
            Sample::new([shape(&[]), shape(&[3])]).outputs(2),
        ]
    },
};

/// `BroadcastGradientArgs`: inputs two shapes; outputs the axes, counted in the joined shape and the last first, to sum over
/// for the gradient of each.
#[derive(Debug, Clone, Copy)]
pub struct BroadcastGradientArgs;

impl Op for BroadcastGradientArgs {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::I64), None); 2])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let a = shape_of(&inputs.required(0)?.to_i64_vec()?)?;
        let b = shape_of(&inputs.required(1)?.to_i64_vec()?)?;
        let rank = a.len().max(b.len());
        let axes = |own: &[usize], other: &[usize]| {
            let length =
                |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |own| shape[own]);
            let missing = rank - own.len();
            let is_summed = |&axis: &usize| axis < missing || (length(own, axis) == 1 && length(other, axis) != 1);
            Tensor::vector((0..rank).rev().filter(is_summed).map(|axis| axis as i64).collect::<Vec<_>>())
        };
        Ok(vec![axes(&a, &b), axes(&b, &a)])
    }
}
