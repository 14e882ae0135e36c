//! `QuantizeLinear`: reals as codes of few bits.
//!
//! <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::numeric::is_wide_float;
use crate::quantization::{Granularity, divide, encode, scale_values, zero_points};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "QuantizeLinear",
    domain: "",
    since: 10,
    read: |node| {
        Ok(Arc::new(QuantizeLinear {
            granularity: Granularity::read(node)?,
            saturate: node.flag_or("saturate", true)?,
            output_dtype: read_dtype(node, "output_dtype")?,
            precision: read_dtype(node, "precision")?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 3]), Tensor::scalar(0.02f32), Tensor::scalar(128u8)]),
            Sample::new([ramp(&[2, 3]), Tensor::vector(vec![0.01f32, 0.5, 2.0]), Tensor::vector(vec![0i8, 1, -1])]),
            Sample::new([ramp(&[2, 5]), filled(&[2, 2], vec![0.5f32, 1.0, 0.25, 2.0])])
                .with("block_size", 3i64)
                .with("output_dtype", 22i64),
            Sample::new([Tensor::vector(vec![f32::NAN, f32::INFINITY, -1e30, 0.5]), Tensor::scalar(1f32)]),
        ]
    },
};

/// An attribute that is a number of `TensorProto.DataType`; 0 is as good as absent.
pub(crate) fn read_dtype(node: &NodeReader<'_>, name: &'static str) -> Result<Option<DType>, OpError> {
    let Some(number) = node.int(name)?.filter(|&number| number != 0) else { return Ok(None) };
    let dtype = i32::try_from(number).ok().and_then(DType::from_onnx);
    dtype.map(Some).ok_or_else(|| OpError::attribute(name, format!("{number} is not an element type")))
}

/// `QuantizeLinear`: inputs x, scale, zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeLinear {
    /// Which elements share a scale.
    pub granularity: Granularity,
    /// Small floats: what is too large becomes the largest value instead of infinity or NaN.
    pub saturate: bool,
    /// Type of the codes where no zero point says it.
    pub output_dtype: Option<DType>,
    /// Type the division is rounded to; the scale's unless given.
    pub precision: Option<DType>,
}

impl Op for QuantizeLinear {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = match inputs.optional(2) {
            Some(zero_point) => zero_point.dtype.or(self.output_dtype),
            None => Some(self.output_dtype.unwrap_or(DType::U8)),
        };
        Ok(vec![Fact::maybe(dtype, inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, scale, zero_point) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        if !is_wide_float(x.dtype()) && x.dtype() != DType::I32 {
            return Err(OpError::UnsupportedType { index: 0, actual: x.dtype() });
        }
        let dtype = zero_point.map(Tensor::dtype).or(self.output_dtype).unwrap_or(DType::U8);
        let positions = self.granularity.positions(x.shape(), scale)?;
        let precision = self.precision.unwrap_or(scale.dtype());
        let (scales, zeros) = (scale_values(1, scale)?, zero_points(2, zero_point, scale.len())?);
        let values = x.to_f64_vec()?;
        let quotients = values.iter().enumerate().map(|(i, &value)| {
            let at = positions.of(i);
            (divide(value, scales[at], precision), zeros[at])
        });
        Ok(vec![encode(dtype, x.shape().to_vec(), self.saturate, quotients)?])
    }
}
