//! Where the largest or smallest element of an axis is: what `ArgMax` and `ArgMin` share.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NodeReader, Op, OpError, Sample};
use lissom_tensor::{DType, Tensor};

use crate::axes::{axis, split_at};
use crate::ordering::keys;

/// `ArgMax` or `ArgMin`.
#[derive(Debug, Clone, Copy)]
pub struct ArgExtreme {
    /// The largest element instead of the smallest.
    pub is_max: bool,
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The axis stays, of length 1.
    pub keep_dims: bool,
    /// The last of equal elements instead of the first.
    pub select_last: bool,
}

impl ArgExtreme {
    pub(crate) fn read(node: &NodeReader<'_>, is_max: bool) -> Result<Arc<dyn Op>, OpError> {
        Ok(Arc::new(Self {
            is_max,
            axis: node.int_or("axis", 0)?,
            keep_dims: node.flag_or("keepdims", true)?,
            select_last: node.flag_or("select_last_index", false)?,
        }))
    }

    fn reduced<T: Clone>(&self, shape: &[T], axis: usize, one: T) -> Vec<T> {
        let mut out = shape.to_vec();
        if self.keep_dims {
            out[axis] = one;
        } else {
            out.remove(axis);
        }
        out
    }
}

impl Op for ArgExtreme {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let Some(shape) = inputs.shape(0) else { return Ok(vec![Fact::maybe(Some(DType::I64), None)]) };
        let axis = axis(self.axis, shape.len())?;
        Ok(vec![Fact::new(DType::I64, self.reduced(shape, axis, Dim::Known(1)))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let axis = axis(self.axis, x.rank())?;
        let (outer, length, inner) = split_at(x.shape(), axis);
        let shape = self.reduced(x.shape(), axis, 1);
        if length == 0 && !shape.contains(&0) {
            return Err(OpError::shape(0, x.shape(), format!("axis {axis} is empty and has no extreme")));
        }
        let keys = keys(0, x)?;
        let mut out = Vec::with_capacity(outer * inner);
        for o in 0..outer {
            for i in 0..inner {
                let key = |position: usize| keys[(o * length + position) * inner + i];
                let best = (1..length).fold(0, |best, position| {
                    let (new, old) = (key(position), key(best));
                    let is_better = if self.is_max { new > old } else { new < old };
                    if is_better || (self.select_last && new == old) { position } else { best }
                });
                out.push(best as i64);
            }
        }
        Ok(vec![Tensor::new(shape, out)?])
    }
}

pub(crate) fn samples() -> Vec<Sample> {
    let x = || Tensor::new([2, 3], vec![1f32, 5.0, 5.0, 4.0, -2.0, -2.0]);
    vec![
        Sample::new(x()),
        Sample::new(x()).with("axis", -1i64).with("keepdims", 0i64),
        Sample::new(x()).with("axis", 1i64).with("select_last_index", 1i64),
        Sample::new([Tensor::vector(vec![3u8, 1])]).with("keepdims", 0i64),
    ]
}
