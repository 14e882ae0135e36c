//! `ConcatFromSequence`: the tensors of a sequence joined along an axis, or stacked along a new one.
//!
//! <https://onnx.ai/onnx/operators/onnx__ConcatFromSequence.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::axes::axis;
use crate::concat::concat;
use crate::stack::stack;

pub(crate) const OP: OpSpec = OpSpec {
    name: "ConcatFromSequence",
    domain: "",
    since: 11,
    read: |node| {
        let axis = node.int("axis")?.ok_or_else(|| OpError::attribute("axis", "is missing"))?;
        Ok(Arc::new(ConcatFromSequence { axis, new_axis: node.flag_or("new_axis", false)? }))
    },
    samples: || {
        let row = |first: f32| Tensor::vector(vec![first, first + 1.0]);
        let sequence = || Tensor::sequence(vec![row(1.0), row(5.0)]);
        vec![
            Sample::new([sequence()]).with("axis", 0i64),
            Sample::new([sequence()]).with("axis", -1i64).with("new_axis", 1i64),
        ]
    },
};

/// `ConcatFromSequence`.
#[derive(Debug, Clone, Copy)]
pub struct ConcatFromSequence {
    /// The axis; negative counts from the end of the output.
    pub axis: i64,
    /// The axis is new.
    pub new_axis: bool,
}

impl Op for ConcatFromSequence {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::unknown()])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let items = inputs.required(0)?.items()?;
        let Some(first) = items.first() else { return Err(OpError::value("an empty sequence has nothing to join")) };
        if self.new_axis {
            return Ok(vec![stack(items, self.axis, &Fact::unknown())?]);
        }
        Ok(vec![concat(&items.iter().collect::<Vec<_>>(), axis(self.axis, first.rank())?)?])
    }
}
