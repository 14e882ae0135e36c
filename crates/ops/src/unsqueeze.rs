//! `Unsqueeze`: axes of length 1 put in, counted in the output.
//!
//! <https://onnx.ai/onnx/operators/onnx__Unsqueeze.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::IntList;
use crate::axes::axes;
use crate::gradient::{Gradients, of_reshape};
use crate::int_list::KnownList;
use crate::lengths::{lengths, lengths_fact};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Unsqueeze",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Unsqueeze { axes: IntList::read(node, "axes", 13, 1)? })),
    samples: || {
        let x = || Tensor::vector(vec![1f32, 2.0, 3.0]);
        vec![
            Sample::new([x(), Tensor::vector(vec![0i64, -1])]),
            Sample::new([Tensor::scalar(5i64), Tensor::vector(vec![0i64])]),
            Sample::new([x(), Tensor::vector(Vec::<i64>::new())]),
        ]
    },
};

/// `Unsqueeze`.
#[derive(Debug, Clone)]
pub struct Unsqueeze {
    /// The axes, positions in the output.
    pub axes: IntList,
}

/// `shape` with `one` put in at `list`.
fn unsqueezed<T: Clone>(shape: &[T], list: &[i64], one: T) -> Result<Vec<T>, OpError> {
    let rank = shape.len() + list.len();
    let new = axes(list, rank)?;
    let mut old = shape.iter();
    Ok((0..rank).filter_map(|axis| if new.contains(&axis) { Some(one.clone()) } else { old.next().cloned() }).collect())
}

impl Op for Unsqueeze {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let (Some(shape), KnownList::Known(list)) = (&x.shape, self.axes.known(inputs)) else {
            return Ok(vec![Fact::maybe(x.dtype, None)]);
        };
        let shape = unsqueezed(shape, &list, Dim::Known(1))?;
        Ok(vec![match lengths(x) {
            Some((dtype, _, dims)) if shape.len() <= 1 => lengths_fact(dtype, shape.len(), dims),
            _ => Fact::maybe(x.dtype, Some(shape)),
        }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        Ok(vec![x.reshape(unsqueezed(x.shape(), &self.axes.required(inputs)?, 1)?)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_reshape(vjp)
    }
}
