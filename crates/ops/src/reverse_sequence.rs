//! `ReverseSequence`: the first elements of each sequence of a batch reversed.
//!
//! <https://onnx.ai/onnx/operators/onnx__ReverseSequence.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Tensor, strides};

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x};

pub(crate) const OP: OpSpec = OpSpec {
    name: "ReverseSequence",
    domain: "",
    since: 10,
    read: |node| {
        let op = ReverseSequence { time_axis: node.int_or("time_axis", 0)?, batch_axis: node.int_or("batch_axis", 1)? };
        Ok(Arc::new(op))
    },
    samples: || {
        let x = || Tensor::new([3, 3], (0..9).map(|i| i as f32).collect::<Vec<_>>());
        let case = || Sample::new(x().into_iter().chain([Tensor::vector(vec![1i64, 3, 2])]));
        vec![case(), case().with("time_axis", 1i64).with("batch_axis", 0i64)]
    },
};

/// `ReverseSequence`.
#[derive(Debug, Clone, Copy)]
pub struct ReverseSequence {
    /// 0 or 1.
    pub time_axis: i64,
    /// The other one.
    pub batch_axis: i64,
}

impl Op for ReverseSequence {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, lengths) = (inputs.required(0)?, inputs.required(1)?.to_i64_vec()?);
        let time = crate::axes::axis(self.time_axis, x.rank())?;
        let batch = crate::axes::axis(self.batch_axis, x.rank())?;
        let (n_steps, n_batch) = (x.shape()[time], x.shape()[batch]);
        let lengths: Option<Vec<usize>> =
            lengths.iter().map(|&n| usize::try_from(n).ok().filter(|&n| n <= n_steps)).collect();
        let lengths = lengths.filter(|lengths| lengths.len() == n_batch && time != batch).ok_or_else(|| {
            OpError::shape(0, x.shape(), format!("{n_batch} sequence lengths of at most {n_steps} are expected"))
        })?;
        let steps = strides(x.shape());
        let source = |at: usize| {
            let (step, sequence) = (at / steps[time] % n_steps, at / steps[batch] % n_batch);
            let length = lengths[sequence];
            if step < length { at - step * steps[time] + (length - 1 - step) * steps[time] } else { at }
        };
        Ok(vec![x.pick(x.shape(), (0..x.len()).map(source))?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let again = Expr::of("ReverseSequence", [dy, x(vjp, 1)?]).with("time_axis", self.time_axis);
            Ok(vec![Some(again.with("batch_axis", self.batch_axis))])
        })
    }
}
