//! `Range`: start, start + delta, … up to but without limit.
//!
//! <https://onnx.ai/onnx/operators/onnx__Range.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::convert::{Conversion, convert};
use crate::lengths::lengths;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Range",
    domain: "",
    since: 11,
    read: |node| {
        node.ignore(&["stash_type"]); // sums here are exact anyway
        Ok(Arc::new(Range))
    },
    samples: || {
        vec![
            Sample::new([0i64, 7, 3].map(Tensor::scalar)),
            Sample::new([2.5f32, 0.0, -0.5].map(Tensor::scalar)),
            Sample::new([3i32, 3, 1].map(Tensor::scalar)),
        ]
    },
};

/// `Range`.
#[derive(Debug, Clone, Copy)]
pub struct Range;

impl Op for Range {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = (0..3).find_map(|index| inputs.dtype(index));
        let length = |index: usize| match lengths(inputs.get(index)) {
            Some((_, _, dims)) if dims.len() == 1 => dims.first().cloned(),
            _ => None,
        };
        let shape = match (length(0), length(1), length(2)) {
            (Some(Dim::Known(start)), Some(Dim::Known(limit)), Some(Dim::Known(delta))) => {
                Some(vec![Dim::Known(i64::try_from(int_count(start, limit, delta)?).unwrap_or(i64::MAX))])
            }
            // Lengths are never negative, so this one is the number of steps.
            (Some(Dim::Known(0)), Some(limit), Some(Dim::Known(1))) => Some(vec![limit]),
            _ => None,
        };
        Ok(vec![Fact::maybe(dtype, shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (start, limit, delta) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let dtype = start.dtype();
        if !dtype.is_float() {
            let (start, limit, delta) = (start.to_i64()?, limit.to_i64()?, delta.to_i64()?);
            let count = usize::try_from(int_count(start, limit, delta)?)
                .map_err(|_| OpError::value(format!("a range from {start} to {limit} in steps of {delta}")))?;
            let len = checked_len(DType::I64, &[count])?;
            let values = (0..len as i64).map(|i| start.wrapping_add(delta.wrapping_mul(i))).collect();
            return Ok(vec![convert(&Tensor::vector::<i64>(values), dtype, Conversion::default())?]);
        }
        let (start, limit, delta) = (start.to_f64()?, limit.to_f64()?, delta.to_f64()?);
        let count = ((limit - start) / delta).ceil().max(0.0);
        if !count.is_finite() || count > 1e15 {
            return Err(OpError::value(format!("a range from {start} to {limit} in steps of {delta}")));
        }
        let len = checked_len(DType::F64, &[count as usize])?;
        let values = (0..len).map(|i| start + delta * i as f64).collect();
        Ok(vec![convert(&Tensor::vector::<f64>(values), dtype, Conversion::default())?])
    }
}

fn int_count(start: i64, limit: i64, delta: i64) -> Result<u64, OpError> {
    if delta == 0 {
        return Err(OpError::value("a range in steps of 0"));
    }
    let (span, step) = (i128::from(limit) - i128::from(start), i128::from(delta));
    let (span, step) = if step > 0 { (span, step) } else { (-span, -step) };
    Ok(if span <= 0 { 0 } else { ((span + step - 1) / step) as u64 })
}
