//! `Relu`: max(x, 0). NaN stays NaN.
//!
//! <https://onnx.ai/onnx/operators/onnx__Relu.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Storage, Tensor};

use crate::elementwise::{infer_same, map_float};
use crate::expression::Expr;
use crate::gradient::{Gradients, of_one};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Relu",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Relu))
    },
    samples: || {
        vec![
            Sample::new([Tensor::vector(vec![-1.5f32, -0.0, 0.0, 2.5])]),
            Sample::new([Tensor::vector(vec![-3i32, 0, 4])]),
        ]
    },
};

/// `Relu`.
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Op for Relu {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let storage = match x.storage() {
            Storage::I8(v) => Storage::I8(v.iter().map(|&x| x.max(0)).collect()),
            Storage::I16(v) => Storage::I16(v.iter().map(|&x| x.max(0)).collect()),
            Storage::I32(v) => Storage::I32(v.iter().map(|&x| x.max(0)).collect()),
            Storage::I64(v) => Storage::I64(v.iter().map(|&x| x.max(0)).collect()),
            // `max` would turn NaN into 0.
            _ => return Ok(vec![map_float(x, |x| if x < 0.0 { 0.0 } else { x }, |x| if x < 0.0 { 0.0 } else { x })?]),
        };
        Ok(vec![Tensor::from_storage(x.shape().to_vec(), storage)?])
    }

    /// The gradient where the output is positive: at 0 it is 0. The output stands for the input, so that the input need
    /// not be kept.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_one(vjp, |dy, _, y| Expr::microsoft("ReluGrad", [dy, y]))
    }
}
