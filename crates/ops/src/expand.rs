//! `Expand`: broadcasts to a shape, which may itself be broadcast.
//!
//! <https://onnx.ai/onnx/operators/onnx__Expand.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor, broadcast_shapes, checked_len, flat_indices};

use crate::constant_of_shape::shape_of;
use crate::elementwise::infer_broadcast;
use crate::gradient::{Gradients, of_output, sum_to};
use crate::lengths::{is_symbolic, lengths, lengths_fact};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Expand",
    domain: "",
    since: 8,
    read: |_| Ok(Arc::new(Expand)),
    samples: || {
        let x = || Tensor::new([3, 1], vec![1f32, 2.0, 3.0]);
        let case = |shape: &[i64]| Sample::new(x().into_iter().chain([Tensor::vector(shape.to_vec())]));
        vec![case(&[2, 1, 4]), case(&[1]), case(&[3, 0])]
    },
};

/// `Expand`.
#[derive(Debug, Clone, Copy)]
pub struct Expand;

impl Op for Expand {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let Some(to) = inputs.get(1).as_dims() else { return Ok(vec![Fact::maybe(x.dtype, None)]) };
        let target = Fact::new(DType::I64, to);
        let fact = infer_broadcast(&Facts(&[Some(x), Some(&target)]))?;
        if is_symbolic(x)
            && let (Some((dtype, _, dims)), Some([length])) = (lengths(x), fact.known_shape().as_deref())
            && let [dim] = &dims[..]
            && *length <= 64
        {
            return Ok(vec![lengths_fact(dtype, 1, vec![dim.clone(); *length])]);
        }
        Ok(vec![Fact::maybe(x.dtype, fact.shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let shape = broadcast_shapes(x.shape(), &shape_of(&inputs.required(1)?.to_i64_vec()?)?)?;
        checked_len(x.dtype(), &shape)?;
        let order = flat_indices(x.shape(), &shape);
        Ok(vec![x.pick(shape, order)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let joined = self.infer(&vjp.facts).ok().and_then(|facts| facts.into_iter().next()?.shape);
        of_output(vjp, |vjp, dy| Ok(vec![Some(sum_to(vjp, dy, joined.as_deref(), 0)?)]))
    }
}
