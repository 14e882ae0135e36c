//! `ConstantOfShape`: a tensor of a given shape, all of one value.
//!
//! <https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::lengths::lengths_fact;

/// Vectors up to this long are known before a run: they are parts of shape arithmetic.
const MAX_KNOWN_LEN: usize = 64;

pub(crate) const OP: OpSpec = OpSpec {
    name: "ConstantOfShape",
    domain: "",
    since: 9,
    read: |node| {
        let value = node.tensor("value")?.unwrap_or_else(|| Tensor::scalar(0f32));
        if value.len() != 1 {
            return Err(OpError::attribute("value", format!("holds {} elements, expected 1", value.len())));
        }
        Ok(Arc::new(ConstantOfShape { value }))
    },
    samples: || {
        vec![
            Sample::new([Tensor::vector(vec![2i64, 3])]),
            Sample::new([Tensor::vector(vec![2i64])]).with("value", Tensor::vector(vec![7i64])),
            Sample::new([Tensor::vector(Vec::<i64>::new())]),
            Sample::new([Tensor::vector(vec![3i64, 0])]),
        ]
    },
};

/// `ConstantOfShape`.
#[derive(Debug, Clone)]
pub struct ConstantOfShape {
    /// The value, of one element.
    pub value: Tensor,
}

/// A shape that comes as numbers.
///
/// # Errors
/// [`OpError::BadValue`] for a negative length.
pub(crate) fn shape_of(lengths: &[i64]) -> Result<Vec<usize>, OpError> {
    let length = |&n: &i64| usize::try_from(n).map_err(|_| OpError::value(format!("length {n} is negative")));
    lengths.iter().map(length).collect()
}

impl Op for ConstantOfShape {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = self.value.dtype();
        let Some(shape) = inputs.get(0).as_dims() else { return Ok(vec![Fact::maybe(Some(dtype), None)]) };
        if let ([Dim::Known(length)], Ok(value)) = (&shape[..], self.value.to_i64())
            && (0..=MAX_KNOWN_LEN as i64).contains(length)
            && matches!(dtype, lissom_tensor::DType::I64 | lissom_tensor::DType::I32)
        {
            return Ok(vec![lengths_fact(dtype, 1, vec![Dim::Known(value); *length as usize])]);
        }
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![self.value.fill(shape_of(&inputs.required(0)?.to_i64_vec()?)?)?])
    }
}
