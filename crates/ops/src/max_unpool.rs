//! `MaxUnpool`: puts pooled values back where they came from, zeros elsewhere.
//!
//! <https://onnx.ai/onnx/operators/onnx__MaxUnpool.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::Window;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::pool::read_window;
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "MaxUnpool",
    domain: "",
    since: 9,
    read: |node| Ok(Arc::new(MaxUnpool { window: read_window(node)? })),
    samples: || {
        let x = || filled(&[1, 1, 2, 2], vec![1f32, 2.0, 3.0, 4.0]);
        let sample = |inputs: Vec<Tensor>| {
            Sample::new(inputs).with("kernel_shape", vec![2i64, 2]).with("strides", vec![2i64, 2])
        };
        vec![
            sample(vec![x(), filled(&[1, 1, 2, 2], vec![5i64, 7, 13, 15])]),
            sample(vec![x(), filled(&[1, 1, 2, 2], vec![5i64, 7, 13, 15]), Tensor::vector(vec![1i64, 1, 5, 5])]),
        ]
    },
};

/// `MaxUnpool`: inputs pooled values, their positions in the whole of the original, and the shape of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxUnpool {
    /// The pool that is undone.
    pub window: Window,
}

impl MaxUnpool {
    /// Length before pooling, if nothing else says it.
    fn length(&self, axis: usize, pooled: i64, rank: usize) -> Option<i64> {
        let stride = self.window.strides.get(axis).map_or(1, |&stride| stride as i64);
        let pad = |index: usize| self.window.pads.get(index).copied().unwrap_or(0);
        let span = (pooled - 1).checked_mul(stride)?.checked_add(*self.window.kernel.get(axis)? as i64)?;
        span.checked_sub(pad(axis))?.checked_sub(pad(axis + rank))
    }
}

impl Op for MaxUnpool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0);
        if let Some(shape) = inputs.optional(2) {
            return Ok(vec![Fact::maybe(dtype, shape.as_dims())]);
        }
        let Some(x) = inputs.shape(0).filter(|x| x.len() >= 3) else { return Ok(vec![Fact::maybe(dtype, None)]) };
        let spatial = x[2..].iter().enumerate().map(|(axis, dim)| {
            let length = dim.known().and_then(|length| self.length(axis, length as i64, x.len() - 2));
            length.map(Dim::Known)
        });
        let shape: Option<Vec<Dim>> = x[..2].iter().cloned().map(Some).chain(spatial).collect();
        Ok(vec![Fact::maybe(dtype, shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, positions) = (inputs.required(0)?, inputs.required(1)?);
        expect_shape(1, positions, x.shape())?;
        let too_small = || OpError::shape(0, x.shape(), "no original has these pooled values");
        let spatial = x.shape().get(2..).filter(|spatial| spatial.len() == self.window.kernel.len());
        let spatial = spatial.ok_or_else(|| OpError::shape(0, x.shape(), "does not fit the kernel"))?;
        let computed = spatial.iter().enumerate().map(|(axis, &length)| {
            let length = self.length(axis, length as i64, spatial.len());
            length.and_then(|length| usize::try_from(length).ok()).ok_or_else(too_small)
        });
        let computed: Vec<usize> = computed.collect::<Result<_, _>>()?;
        let natural: Vec<usize> = x.shape()[..2].iter().copied().chain(computed).collect();
        let shape = match inputs.optional(2) {
            Some(given) => {
                let lengths = given.to_i64_vec()?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
                lengths.map_err(|_| OpError::value("a length of the output is negative"))?
            }
            None => natural.clone(),
        };
        if shape.len() != natural.len() {
            return Err(OpError::value(format!("an output of rank {} for rank {}", shape.len(), natural.len())));
        }
        let mut out = vec![0.0; checked_len(DType::F64, &shape)?];
        for (value, at) in floats(0, x)?.into_iter().zip(positions.to_i64_vec()?) {
            let at = usize::try_from(at).ok().and_then(|at| moved(at, &natural, &shape));
            let slot = at.and_then(|at| out.get_mut(at));
            *slot.ok_or_else(|| OpError::value(format!("a position outside {shape:?}")))? = value;
        }
        Ok(vec![from_f64(x.dtype(), shape, out)?])
    }
}

/// A flat position in `from` as a flat position in `to`, a shape of the same rank; `None` if it lies outside either.
fn moved(mut at: usize, from: &[usize], to: &[usize]) -> Option<usize> {
    let mut flat = 0usize;
    let mut step = 1usize;
    for (&own, &other) in from.iter().zip(to).rev() {
        let position = at.checked_rem(own)?;
        at /= own;
        if position >= other {
            return None;
        }
        flat = flat.checked_add(position.checked_mul(step)?)?;
        step = step.checked_mul(other)?;
    }
    (at == 0).then_some(flat)
}
