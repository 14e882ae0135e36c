//! `Shape`: the lengths of the axes `start..end`, as an i64 vector.
//!
//! <https://onnx.ai/onnx/operators/onnx__Shape.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Shape",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Shape { start: node.int_or("start", 0)?, end: node.int_or("end", i64::MAX)? })),
    samples: || {
        let x = || Tensor::zeros(DType::F32, [2, 3, 4]);
        vec![
            Sample::new(x()),
            Sample::new(x()).with("start", -2i64).with("end", -1i64),
            Sample::new(x()).with("start", 5i64),
            Sample::new([Tensor::scalar(1i8)]),
        ]
    },
};

/// `Shape`.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// First axis; negative counts from the end.
    pub start: i64,
    /// One past the last axis; negative counts from the end.
    pub end: i64,
}

impl Shape {
    fn of<T: Clone>(&self, shape: &[T]) -> Vec<T> {
        let rank = shape.len() as i64;
        let clamp = |axis: i64| (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize;
        shape.get(clamp(self.start)..clamp(self.end)).map(<[T]>::to_vec).unwrap_or_default()
    }
}

impl Op for Shape {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![match inputs.shape(0) {
            Some(shape) => Fact::dims(self.of(shape)),
            None => Fact::maybe(Some(DType::I64), None),
        }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let lengths: Vec<i64> = inputs.required(0)?.shape().iter().map(|&length| length as i64).collect();
        Ok(vec![Tensor::vector(self.of(&lengths))])
    }
}
