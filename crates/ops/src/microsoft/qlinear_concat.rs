//! `QLinearConcat`: codes of several scales, one after the other in one scale.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::axes::axis;
use crate::quantization::{code_values, divide, encode, only_scale, only_zero_point};
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QLinearConcat",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(QLinearConcat { axis: node.int_or("axis", 0)? })),
    samples: || {
        vec![
            Sample::new([
                Tensor::scalar(0.1f32),
                Tensor::scalar(10u8),
                filled(&[2, 2], vec![0u8, 100, 200, 255]),
                Tensor::scalar(0.05f32),
                Tensor::scalar(128u8),
                filled(&[2, 1], vec![3u8, 9]),
                Tensor::scalar(0.2f32),
                Tensor::scalar(0u8),
            ])
            .with("axis", 1i64),
        ]
    },
};

/// `QLinearConcat`: scale and zero point of the result, then codes, scale and zero point of each part.
#[derive(Debug, Clone, Copy)]
struct QLinearConcat {
    axis: i64,
}

impl Op for QLinearConcat {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(1);
        let parts: Option<Vec<&[Dim]>> = (2..inputs.len()).step_by(3).map(|index| inputs.shape(index)).collect();
        let Some((first, rest)) = parts.as_deref().and_then(<[_]>::split_first) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        let mut shape = first.to_vec();
        let at = axis(self.axis, shape.len())?;
        for part in rest.iter().filter(|part| part.len() == first.len()) {
            shape[at] = shape[at].add(&part[at]);
        }
        Ok(vec![Fact::maybe(dtype, Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (y_scale, y_zero) = (inputs.required(0)?, inputs.required(1)?);
        let first = inputs.required(2)?;
        let at = axis(self.axis, first.rank())?;
        let mut shape = first.shape().to_vec();
        shape[at] = 0;
        let mut parts = Vec::new();
        for index in (2..inputs.len()).step_by(3) {
            let x = inputs.required(index)?;
            let (scale, zero) = (
                only_scale(index + 1, inputs.required(index + 1)?)?,
                only_zero_point(index + 2, inputs.optional(index + 2))?,
            );
            let same = |other: usize| x.shape().get(other) == first.shape().get(other);
            if x.rank() != first.rank() || !(0..x.rank()).all(|other| other == at || same(other)) {
                return Err(OpError::shape(index, x.shape(), format!("does not join {:?}", first.shape())));
            }
            shape[at] += x.shape()[at];
            let values: Vec<f64> = code_values(index, x)?.into_iter().map(|code| (code - zero) * scale).collect();
            parts.push((values, x.shape()[at]));
        }
        let mut out = Vec::with_capacity(checked_len(DType::F64, &shape)?);
        if !shape.contains(&0) {
            let (outer, inner): (usize, usize) = (shape[..at].iter().product(), shape[at + 1..].iter().product());
            for block in 0..outer {
                for (values, length) in &parts {
                    out.extend_from_slice(&values[block * length * inner..][..length * inner]);
                }
            }
        }
        let (scale, zero) = (only_scale(0, y_scale)?, only_zero_point(1, Some(y_zero))?);
        let codes = out.into_iter().map(|value| (divide(value, scale, y_scale.dtype()), zero));
        Ok(vec![encode(y_zero.dtype(), shape, true, codes)?])
    }
}
