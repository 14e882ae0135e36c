//! `CastLike`: the values of the first input in the type of the second.
//!
//! <https://onnx.ai/onnx/operators/onnx__CastLike.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::cast::{infer_cast, read_conversion};
use crate::convert::{Conversion, convert};
use crate::gradient::{Gradients, of_output};

pub(crate) const OP: OpSpec = OpSpec {
    name: "CastLike",
    domain: "",
    since: 15,
    read: |node| Ok(Arc::new(CastLike { conversion: read_conversion(node)? })),
    samples: || {
        let x = || Tensor::vector(vec![-1.75f32, 0.0, 300.0]);
        vec![
            Sample::new([x(), Tensor::scalar(0i32)]),
            Sample::new([x(), Tensor::scalar(0u8)]),
            Sample::new([x(), Tensor::scalar(0f64)]),
            Sample::new([x(), Tensor::scalar(false)]),
        ]
    },
};

/// `CastLike`.
#[derive(Debug, Clone, Copy)]
pub struct CastLike {
    /// What happens to values the type does not have.
    pub(crate) conversion: Conversion,
}

impl Op for CastLike {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![match inputs.dtype(1) {
            Some(dtype) => infer_cast(inputs.get(0), dtype),
            None => Fact::maybe(None, inputs.shape(0).map(<[_]>::to_vec)),
        }])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let to = inputs.required(1)?.dtype();
        Ok(vec![convert(inputs.required(0)?, to, self.conversion)?])
    }

    /// None for what was no real.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let from = vjp.facts.dtype(0).ok_or(NoGradient)?;
        of_output(vjp, |_, dy| Ok(vec![from.is_float().then(|| dy.cast(from))]))
    }
}
