//! `QLinearGlobalAveragePool`: mean of each channel of codes, given as codes again.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use super::qlinear::{coded, decoded};
use super::qlinear_average_pool::refuse_channels_last;
use crate::pool::{global_pool, infer_global};
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QLinearGlobalAveragePool",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        refuse_channels_last(node)?;
        Ok(Arc::new(QLinearGlobalAveragePool))
    },
    samples: || {
        vec![Sample::new([
            filled(&[1, 3, 2, 2], vec![1u8, 2, 3, 250, 60, 50, 40, 30, 255, 254, 0, 9]),
            Tensor::scalar(0.1f32),
            Tensor::scalar(20u8),
            Tensor::scalar(0.08f32),
            Tensor::scalar(30u8),
        ])]
    },
};

/// `QLinearGlobalAveragePool`: inputs codes, scale, zero point, scale and zero point of the result.
#[derive(Debug, Clone, Copy)]
struct QLinearGlobalAveragePool;

impl Op for QLinearGlobalAveragePool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_global(inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let (shape, values) = global_pool(inputs.required(0)?, &decoded(inputs, 0)?, mean)?;
        Ok(vec![coded(inputs, 3, shape, &values)?])
    }
}
