//! `BitCast`: the same bits read as another type of the same width.
//!
//! <https://onnx.ai/onnx/operators/onnx__BitCast.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::bits::{from_patterns, patterns};
use crate::cast::read_type;

pub(crate) const OP: OpSpec = OpSpec {
    name: "BitCast",
    domain: "",
    since: 26,
    read: |node| Ok(Arc::new(BitCast { to: read_type(node, "to")? })),
    samples: || {
        vec![
            Sample::new([Tensor::vector(vec![1f32, -2.0])]).with("to", 6i64),
            Sample::new([Tensor::vector(vec![-1i8, 3])]).with("to", 2i64),
        ]
    },
};

/// `BitCast`.
#[derive(Debug, Clone, Copy)]
pub struct BitCast {
    /// The type of the output.
    pub to: DType,
}

impl Op for BitCast {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(self.to), inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        if x.dtype().bits() != self.to.bits() {
            let reason = format!("{} has {} bits, {} has {}", x.dtype(), x.dtype().bits(), self.to, self.to.bits());
            return Err(OpError::attribute("to", reason));
        }
        Ok(vec![from_patterns(self.to, x.shape(), patterns(0, x)?)?])
    }
}
