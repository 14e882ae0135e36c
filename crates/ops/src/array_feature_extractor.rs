//! `ArrayFeatureExtractor` of `ai.onnx.ml`: elements of the last axis, chosen by indices.
//!
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_ArrayFeatureExtractor.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{Tensor, checked_len};

use crate::gather::position;

pub(crate) const OP: OpSpec = OpSpec {
    name: "ArrayFeatureExtractor",
    domain: "ai.onnx.ml",
    since: 1,
    read: |_| Ok(Arc::new(ArrayFeatureExtractor)),
    samples: || {
        let x = Tensor::new([2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let indices = || [Tensor::vector(vec![2i64, 0])];
        vec![
            Sample::new(x.into_iter().chain(indices())),
            Sample::new([Tensor::vector(vec![7i64, 8, 9])].into_iter().chain(indices())),
        ]
    },
};

/// `ArrayFeatureExtractor`. A vector gives one row.
#[derive(Debug, Clone, Copy)]
pub struct ArrayFeatureExtractor;

impl Op for ArrayFeatureExtractor {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let count = inputs.shape(1).map(crate::lengths::product);
        let shape = match (inputs.shape(0), count) {
            (Some([_]), Some(count)) => Some(vec![Dim::Known(1), count]),
            (Some([outer @ .., _]), Some(count)) => Some([outer, &[count]].concat()),
            _ => None,
        };
        Ok(vec![Fact::maybe(inputs.dtype(0), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, indices) = (inputs.required(0)?, inputs.required(1)?.to_i64_vec()?);
        let [outer @ .., length] = x.shape() else {
            return Err(OpError::shape(0, x.shape(), "at least one axis is expected"));
        };
        let chosen = indices.iter().map(|&index| position(index, *length)).collect::<Result<Vec<_>, _>>()?;
        let shape = if outer.is_empty() { vec![1, chosen.len()] } else { [outer, &[chosen.len()]].concat() };
        checked_len(x.dtype(), &shape)?;
        let n_rows: usize = outer.iter().product();
        let order = (0..n_rows).flat_map(|row| chosen.iter().map(move |&position| row * length + position));
        Ok(vec![x.pick(shape, order)?])
    }
}
