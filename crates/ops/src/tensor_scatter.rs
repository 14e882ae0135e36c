//! `TensorScatter`: slices written into a cache at a position of each batch entry.
//!
//! <https://onnx.ai/onnx/operators/onnx__TensorScatter.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::axes::{axis, split_at};
use crate::elementwise::infer_same;

pub(crate) const OP: OpSpec = OpSpec {
    name: "TensorScatter",
    domain: "",
    since: 24,
    read: |node| {
        let circular = match node.string_or("mode", "linear")?.as_str() {
            "linear" => false,
            "circular" => true,
            other => return Err(OpError::attribute("mode", format!("`{other}` is not linear or circular"))),
        };
        Ok(Arc::new(TensorScatter { axis: node.int_or("axis", -2)?, circular }))
    },
    samples: || {
        let cache = || Tensor::zeros(DType::F32, [2, 3, 1]);
        let update = || Tensor::new([2, 2, 1], vec![1f32, 2.0, 3.0, 4.0]);
        let case = |positions: [i64; 2]| {
            Sample::new(cache().into_iter().chain(update()).chain([Tensor::vector(positions.to_vec())]))
        };
        vec![Sample::new(cache().into_iter().chain(update())), case([1, 0]), case([2, 4]).with("mode", "circular")]
    },
};

/// `TensorScatter`.
#[derive(Debug, Clone, Copy)]
pub struct TensorScatter {
    /// The axis of the cache that grows; negative counts from the end.
    pub axis: i64,
    /// Positions past the end go on at the beginning.
    pub circular: bool,
}

impl Op for TensorScatter {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (cache, update) = (inputs.required(0)?, inputs.required(1)?);
        let axis = axis(self.axis, cache.rank())?;
        let (outer, capacity, inner) = split_at(cache.shape(), axis);
        let length = update.shape().get(axis).copied().unwrap_or(0);
        let mut expected = cache.shape().to_vec();
        expected[axis] = length;
        if axis == 0 || update.shape() != expected || length > capacity {
            let reason = format!("does not fit a cache of shape {:?} along axis {axis}", cache.shape());
            return Err(OpError::shape(1, update.shape(), reason));
        }
        let n_batch = cache.shape()[0];
        let starts = inputs.optional(2).map_or_else(|| Ok(vec![0; n_batch]), Tensor::to_i64_vec)?;
        if starts.len() != n_batch {
            return Err(OpError::value(format!("{} write positions for a batch of {n_batch}", starts.len())));
        }
        let mut order: Vec<usize> = (0..cache.len()).collect();
        for o in 0..outer {
            let start = starts[o / (outer / n_batch.max(1)).max(1)];
            for step in 0..length {
                let position = i128::from(start) + step as i128;
                let position = if self.circular { position.rem_euclid(capacity as i128) } else { position };
                let position = usize::try_from(position).ok().filter(|&position| position < capacity);
                let position = position
                    .ok_or_else(|| OpError::value(format!("write position {start} in a cache of length {capacity}")))?;
                for i in 0..inner {
                    order[(o * capacity + position) * inner + i] = cache.len() + (o * length + step) * inner + i;
                }
            }
        }
        Ok(vec![Tensor::concat_flat(&[cache, update])?.pick(cache.shape(), order)?])
    }
}
