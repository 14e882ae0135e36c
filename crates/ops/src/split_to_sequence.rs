//! `SplitToSequence`: one axis cut into the tensors of a sequence.
//!
//! <https://onnx.ai/onnx/operators/onnx__SplitToSequence.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Strided, Tensor, strides};

use crate::axes::axis;

pub(crate) const OP: OpSpec = OpSpec {
    name: "SplitToSequence",
    domain: "",
    since: 11,
    read: |node| {
        Ok(Arc::new(SplitToSequence { axis: node.int_or("axis", 0)?, keep_dims: node.flag_or("keepdims", true)? }))
    },
    samples: || {
        let x = || Tensor::new([3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        vec![
            Sample::new(x()),
            Sample::new(x()).with("keepdims", 0i64).with("axis", 1i64),
            Sample::new(x().into_iter().chain([Tensor::scalar(2i64)])),
            Sample::new(x().into_iter().chain([Tensor::vector(vec![1i64, 2])])),
        ]
    },
};

/// `SplitToSequence`.
#[derive(Debug, Clone, Copy)]
pub struct SplitToSequence {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// False takes the axis away where nothing says how long the parts are.
    pub keep_dims: bool,
}

fn part_lengths(split: &Tensor, length: usize) -> Result<Vec<usize>, OpError> {
    let values = split.to_i64_vec()?;
    let lengths: Option<Vec<usize>> = values.iter().map(|&n| usize::try_from(n).ok()).collect();
    let lengths = match lengths.as_deref() {
        Some(&[size]) if split.rank() == 0 && size > 0 => {
            (0..length).step_by(size).map(|first| size.min(length - first)).collect()
        }
        Some(lengths) if split.rank() > 0 => lengths.to_vec(),
        _ => Vec::new(),
    };
    let total = lengths.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    if total == Some(length) {
        Ok(lengths)
    } else {
        Err(OpError::value(format!("parts {values:?} of an axis of length {length}")))
    }
}

impl Op for SplitToSequence {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Sequence), None)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let axis = axis(self.axis, x.rank())?;
        let length = x.shape()[axis];
        let lengths = match inputs.optional(1) {
            Some(split) => part_lengths(split, length)?,
            None => vec![1; length],
        };
        let drops_axis = inputs.optional(1).is_none() && !self.keep_dims;
        let walk: Vec<isize> = strides(x.shape()).into_iter().map(|step| step as isize).collect();
        let mut first = 0isize;
        let mut items = Vec::with_capacity(lengths.len());
        for part in lengths {
            let mut shape = x.shape().to_vec();
            shape[axis] = part;
            let mut item = x.pick(shape.clone(), Strided::new(shape.clone(), walk.clone(), first))?;
            if drops_axis {
                shape.remove(axis);
                item = item.reshape(shape)?;
            }
            items.push(item);
            first += part as isize * walk[axis];
        }
        Ok(vec![Tensor::sequence(items)])
    }
}
