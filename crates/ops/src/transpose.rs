//! `Transpose`: the axes in another order; reversed by default.
//!
//! <https://onnx.ai/onnx/operators/onnx__Transpose.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Strided, Tensor, strides};

use crate::gradient::{Gradients, of_one};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Transpose",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Transpose { perm: node.ints("perm")? })),
    samples: || {
        let x = |shape: &[usize]| Tensor::new(shape, (0..24).map(|i| i as f32).collect::<Vec<_>>());
        vec![
            Sample::new(x(&[2, 3, 4])),
            Sample::new(x(&[2, 3, 4])).with("perm", vec![1i64, 2, 0]),
            Sample::new([Tensor::scalar(1u8)]),
        ]
    },
};

/// `Transpose`.
#[derive(Debug, Clone)]
pub struct Transpose {
    /// Output axis `i` is input axis `perm[i]`; `None` reverses.
    pub perm: Option<Vec<i64>>,
}

impl Transpose {
    /// The permutation for an input of `rank` axes.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`] if it is not one.
    pub fn permutation(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        let Some(perm) = &self.perm else { return Ok((0..rank).rev().collect()) };
        let axes = perm.iter().map(|&axis| crate::axes::axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        if sorted.iter().copied().eq(0..rank) {
            Ok(axes)
        } else {
            Err(OpError::attribute("perm", format!("{perm:?} does not name every one of {rank} axes once")))
        }
    }
}

impl Op for Transpose {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let Some(shape) = &x.shape else { return Ok(vec![Fact::maybe(x.dtype, None)]) };
        let axes = self.permutation(shape.len())?;
        if shape.len() <= 1 {
            return Ok(vec![x.clone()]);
        }
        let shape: Vec<Dim> = axes.iter().map(|&axis| shape[axis].clone()).collect();
        Ok(vec![Fact::maybe(x.dtype, Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let axes = self.permutation(x.rank())?;
        let steps = strides(x.shape());
        let shape: Vec<usize> = axes.iter().map(|&axis| x.shape()[axis]).collect();
        let order = Strided::new(shape.clone(), axes.iter().map(|&axis| steps[axis] as isize).collect(), 0);
        Ok(vec![x.pick(shape, order)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let order = match (&self.perm, vjp.facts.shape(0)) {
            (None, _) => None,
            (Some(perm), known) => {
                let permutation = self.permutation(known.map_or(perm.len(), <[_]>::len)).map_err(|_| NoGradient)?;
                let mut inverse = vec![0; permutation.len()];
                permutation.iter().zip(0..).for_each(|(&axis, i)| inverse[axis] = i);
                Some(inverse)
            }
        };
        of_one(vjp, |dy, _, _| match order {
            Some(order) => dy.transpose(order),
            None => dy.apply("Transpose"),
        })
    }
}
