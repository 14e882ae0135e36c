//! `DepthToSpace`: blocks of channels laid out as pixels.
//!
//! <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::blocks::{read_size, rearranged};
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x};

pub(crate) const OP: OpSpec = OpSpec {
    name: "DepthToSpace",
    domain: "",
    since: 1,
    read: |node| {
        let column_first = match node.string_or("mode", "DCR")?.as_str() {
            "DCR" => false,
            "CRD" => true,
            other => return Err(OpError::attribute("mode", format!("`{other}` is not DCR or CRD"))),
        };
        Ok(Arc::new(DepthToSpace { block: read_size(node)?, column_first }))
    },
    samples: || {
        let x = || Tensor::new([1, 8, 2, 3], (0..48).map(|i| i as f32).collect::<Vec<_>>());
        vec![
            Sample::new(x()).with("blocksize", 2i64),
            Sample::new(x()).with("blocksize", 2i64).with("mode", "CRD"),
            Sample::new(x()).with("blocksize", 1i64),
        ]
    },
};

/// `DepthToSpace`.
#[derive(Debug, Clone, Copy)]
pub struct DepthToSpace {
    /// Height and width of a block.
    pub block: usize,
    /// Mode `CRD`: the output channel is the slow part of the input channel.
    pub column_first: bool,
}

impl Op for DepthToSpace {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0);
        let Some([n, c, h, w]) = inputs.shape(0) else { return Ok(vec![Fact::maybe(dtype, None)]) };
        let block = Dim::from(self.block);
        let area = Dim::from(self.block * self.block);
        let channels = c.div(&area).unwrap_or(Dim::Known(0));
        Ok(vec![Fact::maybe(dtype, Some(vec![n.clone(), channels, h.mul(&block), w.mul(&block)]))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, b) = (inputs.required(0)?, self.block);
        let [n, c, h, w] = *x.shape() else { return Err(OpError::shape(0, x.shape(), "rank 4 is expected")) };
        if c % (b * b) != 0 {
            return Err(OpError::shape(0, x.shape(), format!("{c} channels are not blocks of {b} by {b}")));
        }
        let c_out = c / (b * b);
        let shape = [n, c_out, h * b, w * b];
        Ok(vec![if self.column_first {
            rearranged(x, &[n, c_out, b, b, h, w], &[0, 1, 4, 2, 5, 3], &shape)?
        } else {
            rearranged(x, &[n, b, b, c_out, h, w], &[0, 3, 4, 1, 5, 2], &shape)?
        }])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let area = self.block * self.block;
        let channels = vjp.facts.shape(0).and_then(|dims| dims.get(1)?.known());
        of_output(vjp, |vjp, dy| {
            let blocks = dy.apply("SpaceToDepth").with("blocksize", self.block as i64);
            if !self.column_first {
                return Ok(vec![Some(blocks)]);
            }
            let channels = channels.ok_or(NoGradient)? / area;
            let split = blocks.reshape(Expr::ints([0, area as i64, channels as i64, -1]));
            Ok(vec![Some(split.transpose([0, 2, 1, 3]).reshape_like(&x(vjp, 0)?))])
        })
    }
}
