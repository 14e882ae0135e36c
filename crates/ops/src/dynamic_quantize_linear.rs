//! `DynamicQuantizeLinear`: 8-bit codes with scale and zero point from the values at hand.
//!
//! <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::quantization::encode;
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "DynamicQuantizeLinear",
    domain: "",
    since: 11,
    read: |_| Ok(Arc::new(DynamicQuantizeLinear)),
    samples: || {
        vec![
            Sample::new([ramp(&[3, 4])]).outputs(3),
            Sample::new([Tensor::vector(vec![0f32; 3])]).outputs(3),
            Sample::new([ramp(&[0])]).outputs(3),
        ]
    },
};

/// `DynamicQuantizeLinear`: outputs u8 codes, f32 scale, u8 zero point. The range always holds 0.
#[derive(Debug, Clone, Copy)]
pub struct DynamicQuantizeLinear;

impl Op for DynamicQuantizeLinear {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = inputs.shape(0).map(<[_]>::to_vec);
        Ok(vec![Fact::maybe(Some(DType::U8), shape), Fact::known(DType::F32, &[]), Fact::known(DType::U8, &[])])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let values = x.as_slice::<f32>()?;
        let low = values.iter().copied().fold(0f32, f32::min);
        let high = values.iter().copied().fold(0f32, f32::max);
        // In f32, as other runtimes do: the codes must be theirs.
        let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
        let zero_point = (-low / scale).clamp(0.0, 255.0).round_ties_even() as u8;
        let quotients = values.iter().map(|value| (f64::from(value / scale), f64::from(zero_point)));
        let codes = encode(DType::U8, x.shape().to_vec(), true, quotients)?;
        Ok(vec![codes, Tensor::scalar(scale), Tensor::scalar(zero_point)])
    }
}
