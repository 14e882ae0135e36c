//! `Squeeze`: axes of length 1 taken away.
//!
//! <https://onnx.ai/onnx/operators/onnx__Squeeze.html>

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
    name: "Squeeze",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Squeeze { axes: IntList::read(node, "axes", 13, 1)? })),
    samples: || {
        let x = || Tensor::new([1, 3, 1], vec![1f32, 2.0, 3.0]);
        vec![
            Sample::new(x().into_iter().chain([Tensor::vector(vec![-1i64])])),
            Sample::new(x()),
            Sample::new([Tensor::vector(vec![5i64])]),
        ]
    },
};

/// `Squeeze`.
#[derive(Debug, Clone)]
pub struct Squeeze {
    /// The axes; all of length 1 if left out.
    pub axes: IntList,
}

impl Op for Squeeze {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let unknown = Ok(vec![Fact::maybe(x.dtype, None)]);
        let Some(shape) = &x.shape else { return unknown };
        let gone = match self.axes.known(inputs) {
            KnownList::Known(list) => axes(&list, shape.len())?,
            KnownList::LeftOut if shape.iter().all(|dim| dim.known().is_some()) => {
                (0..shape.len()).filter(|&axis| shape[axis] == Dim::Known(1)).collect()
            }
            _ => return unknown,
        };
        if let Some(&axis) = gone.iter().find(|&&axis| shape[axis].known().is_some_and(|length| length != 1)) {
            return Err(OpError::value(format!("axis {axis} has length {}, not 1", shape[axis])));
        }
        let left: Vec<Dim> =
            shape.iter().enumerate().filter(|(axis, _)| !gone.contains(axis)).map(|(_, dim)| dim.clone()).collect();
        Ok(vec![match lengths(x) {
            Some((dtype, _, dims)) => lengths_fact(dtype, left.len(), dims),
            None => Fact::maybe(x.dtype, Some(left)),
        }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let gone = match self.axes.get(inputs)? {
            Some(list) => axes(&list, x.rank())?,
            None => (0..x.rank()).filter(|&axis| x.shape()[axis] == 1).collect(),
        };
        if let Some(axis) = gone.iter().find(|&&axis| x.shape()[axis] != 1) {
            return Err(OpError::shape(0, x.shape(), format!("axis {axis} must have length 1")));
        }
        let left: Vec<usize> = (0..x.rank()).filter(|axis| !gone.contains(axis)).map(|axis| x.shape()[axis]).collect();
        Ok(vec![x.reshape(left)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_reshape(vjp)
    }
}
