//! `DequantizeLinear`: (code − zero point) · scale.
//!
//! <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Storage, Tensor};

use crate::numeric::from_f64;
use crate::quantization::{Granularity, code_values, scale_values, zero_points};
use crate::quantize_linear::read_dtype;
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "DequantizeLinear",
    domain: "",
    since: 10,
    read: |node| {
        Ok(Arc::new(DequantizeLinear {
            granularity: Granularity::read(node)?,
            output_dtype: read_dtype(node, "output_dtype")?,
        }))
    },
    samples: || {
        let codes = |dtype| {
            Tensor::from_storage(vec![2, 4], Storage::SmallInt(dtype, vec![-8, -1, 0, 7, 1, 2, 3, 4]))
                .unwrap_or_else(|_| Tensor::scalar(0i8))
        };
        vec![
            Sample::new([Tensor::vector(vec![0u8, 3, 128, 255]), Tensor::scalar(2f32), Tensor::scalar(128u8)]),
            Sample::new([
                filled(&[1, 3, 2], vec![-128i8, 3, 100, 127, -5, 0]),
                Tensor::vector(vec![2f32, 4.0, 5.0]),
                Tensor::vector(vec![84i8, 24, 0]),
            ]),
            Sample::new([codes(DType::I4), filled(&[2, 2], vec![0.5f32, 1.0, 0.25, 2.0])]).with("block_size", 2i64),
            Sample::new([Tensor::vector(vec![i32::MAX, 7]), Tensor::scalar(0.5f32)]),
        ]
    },
};

/// `DequantizeLinear`: inputs codes, scale, zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DequantizeLinear {
    /// Which elements share a scale.
    pub granularity: Granularity,
    /// Type of the result; the scale's unless given.
    pub output_dtype: Option<DType>,
}

impl DequantizeLinear {
    fn out_dtype(&self, scale: DType) -> DType {
        // Powers of two alone hold no result.
        self.output_dtype.unwrap_or(if scale == DType::F8E8M0 { DType::F32 } else { scale })
    }
}

impl Op for DequantizeLinear {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = self.output_dtype.or_else(|| inputs.dtype(1).map(|scale| self.out_dtype(scale)));
        Ok(vec![Fact::maybe(dtype, inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (codes, scale) = (inputs.required(0)?, inputs.required(1)?);
        if let Some(zero_point) = inputs.optional(2)
            && zero_point.dtype() != codes.dtype()
        {
            let (expected, actual) = (codes.dtype(), zero_point.dtype());
            return Err(OpError::TypeMismatch { index: 2, expected, actual });
        }
        let positions = self.granularity.positions(codes.shape(), scale)?;
        let (scales, zeros) = (scale_values(1, scale)?, zero_points(2, inputs.optional(2), scale.len())?);
        let mut values = code_values(0, codes)?;
        for (i, value) in values.iter_mut().enumerate() {
            let at = positions.of(i);
            // The difference is rounded to f32 like everywhere else; only 32-bit codes are large enough to notice.
            *value = f64::from((*value - zeros[at]) as f32) * scales[at];
        }
        Ok(vec![from_f64(self.out_dtype(scale.dtype()), codes.shape().to_vec(), values)?])
    }
}
