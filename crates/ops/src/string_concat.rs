//! `StringConcat`: texts put one behind the other, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__StringConcat.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, broadcast_shapes, checked_len, max_tensor_bytes};

use crate::elementwise::{infer_broadcast, two, zip};

pub(crate) const OP: OpSpec = OpSpec {
    name: "StringConcat",
    domain: "",
    since: 20,
    read: |_| Ok(Arc::new(StringConcat)),
    samples: || {
        let pair = || Tensor::vector(vec!["a".to_owned(), String::new()]);
        vec![Sample::new([pair(), pair()]), Sample::new([pair(), Tensor::scalar("!".to_owned())])]
    },
};

/// `StringConcat`.
#[derive(Debug, Clone, Copy)]
pub struct StringConcat;

impl Op for StringConcat {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_broadcast(inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = two(inputs)?;
        let len = checked_len(DType::Str, &broadcast_shapes(a.shape(), b.shape())?)?;
        // Every text is repeated equally often, and joining again and again doubles.
        let bytes = [a, b].map(|x| {
            let n_bytes = x.as_slice::<String>().map_or(0, |texts| texts.iter().map(String::len).sum());
            n_bytes.saturating_mul(len.checked_div(x.len()).unwrap_or(0)) as u64
        });
        if bytes[0].saturating_add(bytes[1]) > max_tensor_bytes() {
            let limit = max_tensor_bytes();
            return Err(OpError::value(format!(
                "the texts pass the limit of {limit} bytes (`--max-memory` raises it)"
            )));
        }
        Ok(vec![zip::<String, String>(a, b, |x, y| format!("{x}{y}"))?])
    }
}
