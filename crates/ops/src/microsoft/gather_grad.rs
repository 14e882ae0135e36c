//! `GatherGrad`: the gradient of `Gather`, slices added up where they were taken from.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::axes::{axis, split_at};
use crate::constant_of_shape::shape_of;
use crate::gather::position;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "GatherGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(GatherGrad { axis: node.int_or("axis", 0)? })),
    samples: || {
        vec![
            Sample::new([Tensor::vector(vec![3i64, 2]), filled(&[2, 2], vec![0i64, -1, 2, 1]), ramp(&[2, 2, 2])]),
            Sample::new([Tensor::vector(vec![3i64, 2]), Tensor::scalar(1i32), ramp(&[3])]).with("axis", 1i64),
        ]
    },
};

/// `GatherGrad`: inputs the shape of X, the indices and dY; output dX.
#[derive(Debug, Clone, Copy)]
pub struct GatherGrad {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

/// The fact of a gradient of the type of input `gradient` and of the shape that input `shape` holds.
pub(super) fn infer_gradient(inputs: &Facts<'_>, gradient: usize, shape: usize) -> Fact {
    let dims = inputs.get(shape).as_dims();
    // A length below zero is for the run to refuse.
    let dims = dims.filter(|dims| !dims.iter().any(|dim| matches!(dim, lissom_graph::Dim::Known(n) if *n < 0)));
    Fact::maybe(inputs.dtype(gradient), dims)
}

impl Op for GatherGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_gradient(inputs, 2, 0)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (indices, dy) = (inputs.required(1)?, inputs.required(2)?);
        let shape = shape_of(&inputs.required(0)?.to_i64_vec()?)?;
        let axis = axis(self.axis, shape.len())?;
        expect_shape(2, dy, &[&shape[..axis], indices.shape(), &shape[axis + 1..]].concat())?;
        let mut dx = vec![0.0; checked_len(DType::F64, &shape)?];
        let (outer, length, inner) = split_at(&shape, axis);
        let chosen =
            indices.to_i64_vec()?.into_iter().map(|index| position(index, length)).collect::<Result<Vec<_>, _>>()?;
        let values = floats(2, dy)?;
        if !values.is_empty() {
            for (at, slice) in values.chunks_exact(inner).enumerate() {
                let (o, index) = (at / chosen.len(), chosen[at % chosen.len()]);
                debug_assert!(o < outer);
                dx[(o * length + index) * inner..][..inner].iter_mut().zip(slice).for_each(|(dx, dy)| *dx += dy);
            }
        }
        Ok(vec![from_f64(dy.dtype(), shape, dx)?])
    }
}
