//! `QLinearAveragePool`: mean of each window of codes, given as codes again.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use super::qlinear::{coded, decoded};
use crate::Window;
use crate::pool::{infer_pool, pool, read_window};
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QLinearAveragePool",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        refuse_channels_last(node)?;
        Ok(Arc::new(QLinearAveragePool {
            window: read_window(node)?,
            count_include_pad: node.flag_or("count_include_pad", false)?,
        }))
    },
    samples: || {
        let sample = || {
            Sample::new([
                filled(&[1, 1, 3, 4], vec![1u8, 2, 3, 250, 60, 50, 40, 30, 255, 254, 0, 9]),
                Tensor::scalar(0.1f32),
                Tensor::scalar(20u8),
                Tensor::scalar(0.08f32),
                Tensor::scalar(30u8),
            ])
            .with("kernel_shape", vec![2i64, 2])
        };
        vec![sample(), sample().with("pads", vec![1i64, 1, 0, 0]).with("count_include_pad", 1i64)]
    },
};

/// Refuses the layout `[n, spatial…, c]`, which only ONNX Runtime's own transformations write.
pub(super) fn refuse_channels_last(node: &NodeReader<'_>) -> Result<(), OpError> {
    if node.flag_or("channels_last", false)? {
        return Err(OpError::unsupported("`channels_last`"));
    }
    Ok(())
}

/// `QLinearAveragePool`: inputs codes, scale, zero point, scale and zero point of the result.
#[derive(Debug, Clone)]
struct QLinearAveragePool {
    window: Window,
    count_include_pad: bool,
}

impl Op for QLinearAveragePool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_pool(&self.window, inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (shape, values) = pool(&self.window, x, &decoded(inputs, 0)?, |image, _, view| {
            let count = if self.count_include_pad { view.n_padded } else { view.taps.len() };
            let sum: f64 = view.taps.iter().map(|&(_, at)| image[at]).sum();
            if count == 0 { 0.0 } else { sum / count as f64 }
        })?;
        Ok(vec![coded(inputs, 3, shape, &values)?])
    }
}
