//! `CenterCropPad`: axes cut or padded with zeros on both sides until they have a given length.
//!
//! <https://onnx.ai/onnx/operators/onnx__CenterCropPad.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{Tensor, checked_len, strides};

use crate::axes::axis;
use crate::constant_of_shape::shape_of;

pub(crate) const OP: OpSpec = OpSpec {
    name: "CenterCropPad",
    domain: "",
    since: 18,
    read: |node| Ok(Arc::new(CenterCropPad { axes: node.ints("axes")? })),
    samples: || {
        let x = || Tensor::new([3, 4], (1..13).map(|i| i as f32).collect::<Vec<_>>());
        let case = |shape: &[i64]| Sample::new(x().into_iter().chain([Tensor::vector(shape.to_vec())]));
        vec![case(&[6, 1]), case(&[3, 7]), case(&[1]).with("axes", vec![-2i64])]
    },
};

/// `CenterCropPad`.
#[derive(Debug, Clone)]
pub struct CenterCropPad {
    /// The axes; all if left out.
    pub axes: Option<Vec<i64>>,
}

impl CenterCropPad {
    fn placed<T: Clone>(&self, shape: &[T], lengths: &[T]) -> Result<Vec<T>, OpError> {
        let axes = match &self.axes {
            Some(axes) => axes.iter().map(|&a| axis(a, shape.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..shape.len()).collect(),
        };
        if axes.len() != lengths.len() {
            return Err(OpError::value(format!("{} lengths for {} axes", lengths.len(), axes.len())));
        }
        let mut out = shape.to_vec();
        axes.into_iter().zip(lengths).for_each(|(axis, length)| out[axis] = length.clone());
        Ok(out)
    }
}

impl Op for CenterCropPad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = match (inputs.shape(0), inputs.get(1).as_dims()) {
            (Some(shape), Some(lengths)) => Some(self.placed(shape, &lengths)?),
            _ => None,
        };
        Ok(vec![Fact::maybe(inputs.dtype(0), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let shape = self.placed(x.shape(), &shape_of(&inputs.required(1)?.to_i64_vec()?)?)?;
        checked_len(x.dtype(), &shape)?;
        let mut order: Vec<Option<usize>> = vec![Some(0)];
        for ((&from, &to), step) in x.shape().iter().zip(&shape).zip(strides(x.shape())) {
            // Odd differences are rounded down: the extra pixel is at the end.
            let (cut, pad) = (from.saturating_sub(to) / 2, to.saturating_sub(from) / 2);
            let source = |i: usize| Some((i + cut).checked_sub(pad).filter(|&at| at < from)? * step);
            let offsets: Vec<Option<usize>> = (0..to).map(source).collect();
            order = order
                .iter()
                .flat_map(|base| {
                    let base = *base;
                    offsets.iter().map(move |offset| Some(base? + (*offset)?))
                })
                .collect();
        }
        Ok(vec![x.pick_or(&Tensor::zeros(x.dtype(), [])?, shape, order)?])
    }
}
