//! `OneHot`: a new axis with one value at the index and another everywhere else.
//!
//! <https://onnx.ai/onnx/operators/onnx__OneHot.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{Tensor, checked_len};

pub(crate) const OP: OpSpec = OpSpec {
    name: "OneHot",
    domain: "",
    since: 9,
    read: |node| Ok(Arc::new(OneHot { axis: node.int_or("axis", -1)? })),
    samples: || {
        let indices = || Tensor::new([2, 2], vec![0i64, -1, 7, 2]);
        let rest = || [Tensor::scalar(3i64), Tensor::vector(vec![0f32, 1.0])];
        vec![
            Sample::new(indices().into_iter().chain(rest())),
            Sample::new(indices().into_iter().chain(rest())).with("axis", 1i64),
        ]
    },
};

/// `OneHot`.
#[derive(Debug, Clone, Copy)]
pub struct OneHot {
    /// Where the new axis stands in the output; negative counts from the end.
    pub axis: i64,
}

impl OneHot {
    fn position(&self, rank: usize) -> Result<usize, OpError> {
        crate::axes::axis(self.axis, rank + 1)
    }
}

impl Op for OneHot {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(2);
        let depth = inputs.get(1).tensor().and_then(|depth| depth.to_f64().ok());
        let (Some(shape), Some(depth)) = (inputs.shape(0), depth) else { return Ok(vec![Fact::maybe(dtype, None)]) };
        let mut shape = shape.to_vec();
        shape.insert(self.position(shape.len())?, Dim::Known(depth as i64));
        Ok(vec![Fact::maybe(dtype, Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (indices, depth, values) = (inputs.required(0)?, inputs.required(1)?.to_f64()?, inputs.required(2)?);
        if values.len() != 2 || !(0.0..1e15).contains(&depth) {
            return Err(OpError::value(format!("{} values and a depth of {depth}", values.len())));
        }
        let (axis, depth) = (self.position(indices.rank())?, depth as usize);
        let mut shape = indices.shape().to_vec();
        shape.insert(axis, depth);
        checked_len(values.dtype(), &shape)?;
        let inner: usize = shape[axis + 1..].iter().product();
        let from_end = |index: f64| if index < 0.0 { index + depth as f64 } else { index };
        let hot: Vec<f64> = indices.to_f64_vec()?.into_iter().map(from_end).collect();
        let lanes = hot.chunks(inner.max(1));
        let flags = lanes.flat_map(|lane| {
            (0..depth).flat_map(move |position| lane.iter().map(move |&index| usize::from(index == position as f64)))
        });
        Ok(vec![values.pick(shape.clone(), flags)?])
    }
}
