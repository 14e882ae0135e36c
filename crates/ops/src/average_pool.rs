//! `AveragePool`: mean of each window.
//!
//! <https://onnx.ai/onnx/operators/onnx__AveragePool.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::Window;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x};
use crate::numeric::{floats, from_f64};
use crate::pool::{infer_pool, pool, read_window};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "AveragePool",
    domain: "",
    since: 1,
    read: |node| {
        Ok(Arc::new(AveragePool {
            window: read_window(node)?,
            count_include_pad: node.flag_or("count_include_pad", false)?,
        }))
    },
    samples: || {
        let kernel = || Sample::new([ramp(&[1, 2, 5, 4])]).with("kernel_shape", vec![3i64, 2]);
        vec![
            kernel().with("strides", vec![2i64, 2]),
            kernel().with("pads", vec![1i64, 1, 1, 1]).with("count_include_pad", 1i64),
            kernel().with("auto_pad", "SAME_UPPER"),
            kernel().with("strides", vec![2i64, 3]).with("ceil_mode", 1i64),
        ]
    },
};

/// `AveragePool` of `[n, c, spatial…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AveragePool {
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Padding counts as zeros in the mean.
    pub count_include_pad: bool,
}

impl Op for AveragePool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_pool(&self.window, inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (shape, values) = pool(&self.window, x, &floats(0, x)?, |image, _, view| {
            let count = if self.count_include_pad { view.n_padded } else { view.taps.len() };
            let sum: f64 = view.taps.iter().map(|&(_, at)| image[at]).sum();
            if count == 0 { 0.0 } else { sum / count as f64 }
        })?;
        Ok(vec![from_f64(x.dtype(), shape, values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let attributes = self.window.attributes().with("ceil_mode", i64::from(self.window.ceil_mode));
            let attributes = attributes.with("count_include_pad", i64::from(self.count_include_pad));
            let inputs = vec![Some(dy), Some(x(vjp, 0)?.shape())];
            Ok(Expr::microsoft_outputs("AveragePoolGrad", inputs, attributes, 1).into_iter().map(Some).collect())
        })
    }
}
