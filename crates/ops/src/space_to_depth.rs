//! `SpaceToDepth`: blocks of pixels laid out as channels.
//!
//! <https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::blocks::{read_size, rearranged};
use crate::gradient::{Gradients, of_one};

pub(crate) const OP: OpSpec = OpSpec {
    name: "SpaceToDepth",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(SpaceToDepth { block: read_size(node)? })),
    samples: || {
        let x = || Tensor::new([1, 2, 4, 6], (0..48).map(|i| i as f32).collect::<Vec<_>>());
        vec![Sample::new(x()).with("blocksize", 2i64), Sample::new(x()).with("blocksize", 1i64)]
    },
};

/// `SpaceToDepth`.
#[derive(Debug, Clone, Copy)]
pub struct SpaceToDepth {
    /// Height and width of a block.
    pub block: usize,
}

impl Op for SpaceToDepth {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0);
        let Some([n, c, h, w]) = inputs.shape(0) else { return Ok(vec![Fact::maybe(dtype, None)]) };
        let block = Dim::from(self.block);
        let shorter = |dim: &Dim| dim.div(&block).unwrap_or(Dim::Known(0));
        let channels = c.mul(&Dim::from(self.block * self.block));
        Ok(vec![Fact::maybe(dtype, Some(vec![n.clone(), channels, shorter(h), shorter(w)]))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, b) = (inputs.required(0)?, self.block);
        let [n, c, h, w] = *x.shape() else { return Err(OpError::shape(0, x.shape(), "rank 4 is expected")) };
        if h % b != 0 || w % b != 0 {
            return Err(OpError::shape(0, x.shape(), format!("{h} by {w} pixels are not blocks of {b} by {b}")));
        }
        let (rows, columns) = (h / b, w / b);
        let shape = [n, b * b * c, rows, columns];
        Ok(vec![rearranged(x, &[n, c, rows, b, columns, b], &[0, 3, 5, 1, 2, 4], &shape)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_one(vjp, |dy, _, _| dy.apply("DepthToSpace").with("blocksize", self.block as i64))
    }
}
