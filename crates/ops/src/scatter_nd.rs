//! `ScatterND`: slices put where index vectors point at.
//!
//! <https://onnx.ai/onnx/operators/onnx__ScatterND.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Tensor, checked_len};

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x};
use crate::scatter_targets::{ScatterReduction, slice_targets};

pub(crate) const OP: OpSpec = OpSpec {
    name: "ScatterND",
    domain: "",
    since: 11,
    read: |node| Ok(Arc::new(ScatterND { reduction: ScatterReduction::read(node)? })),
    samples: || {
        let data = || Tensor::new([4, 2], (0..8).map(|i| i as f32).collect::<Vec<_>>());
        let indices = || Tensor::new([2, 1], vec![3i64, -4]);
        let updates = || Tensor::new([2, 2], vec![10f32, 20.0, 30.0, 40.0]);
        let case = || Sample::new(data().into_iter().chain(indices()).chain(updates()));
        vec![case(), case().with("reduction", "add"), case().with("reduction", "min")]
    },
};

/// `ScatterND`.
#[derive(Debug, Clone, Copy)]
pub struct ScatterND {
    /// What becomes of old values.
    pub reduction: ScatterReduction,
}

impl Op for ScatterND {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (data, indices, updates) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let (slices, slice_len) = slice_targets(data.shape(), indices, 0)?;
        checked_len(data.dtype(), &[slices.len(), slice_len])?;
        let targets: Vec<usize> = slices.into_iter().flat_map(|first| first..first + slice_len).collect();
        Ok(vec![self.reduction.scatter(data, updates, targets.into_iter())?])
    }

    /// Where two updates meet and the last wins, both get the gradient.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let (indices, updates) = (x(vjp, 1)?, x(vjp, 2)?);
            let to_updates = Expr::of("GatherND", [dy.clone(), indices.clone()]);
            let to_data = match self.reduction {
                ScatterReduction::Add => dy,
                ScatterReduction::None => {
                    let zeros = Expr::from(0.0).expand_like(&updates);
                    Expr::of("ScatterND", [dy, indices, zeros])
                }
                ScatterReduction::Mul | ScatterReduction::Min | ScatterReduction::Max => return Err(NoGradient),
            };
            Ok(vec![Some(to_data), None, Some(to_updates)])
        })
    }
}
