//! `StringConcat`: texts put one behind the other, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__StringConcat.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

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
        Ok(vec![zip::<String, String>(a, b, |x, y| format!("{x}{y}"))?])
    }
}
