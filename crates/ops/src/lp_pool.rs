//! `LpPool`: Lp norm of each window.
//!
//! <https://onnx.ai/onnx/operators/onnx__LpPool.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::Window;
use crate::numeric::{floats, from_f64};
use crate::pool::{infer_pool, pool, read_window};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "LpPool",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(LpPool { window: read_window(node)?, p: read_p(node)? })),
    samples: || {
        let kernel = || Sample::new([ramp(&[1, 2, 5, 4])]).with("kernel_shape", vec![3i64, 2]);
        vec![
            kernel().with("strides", vec![2i64, 2]).with("p", 3i64),
            kernel().with("pads", vec![1i64, 1, 1, 1]).with("p", 1i64),
        ]
    },
};

/// The attribute `p`: a float in opset 1, an integer since.
///
/// # Errors
/// [`OpError::BadAttribute`].
pub(crate) fn read_p(node: &NodeReader<'_>) -> Result<f64, OpError> {
    let p = if node.opset() < 2 { node.float_or("p", 2.0)?.into() } else { node.int_or("p", 2)? as f64 };
    if p > 0.0 { Ok(p) } else { Err(OpError::attribute("p", format!("{p} is not positive"))) }
}

/// `(Σ |x|^p)^(1/p)`.
pub(crate) fn lp_norm(values: impl Iterator<Item = f64>, p: f64) -> f64 {
    if p == 1.0 {
        values.map(f64::abs).sum()
    } else if p == 2.0 {
        values.map(|x| x * x).sum::<f64>().sqrt()
    } else {
        values.map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p)
    }
}

/// `LpPool` of `[n, c, spatial…]`; padding counts as zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct LpPool {
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Order of the norm.
    pub p: f64,
}

impl Op for LpPool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_pool(&self.window, inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (shape, values) = pool(&self.window, x, &floats(0, x)?, |image, _, view| {
            lp_norm(view.taps.iter().map(|&(_, at)| image[at]), self.p)
        })?;
        Ok(vec![from_f64(x.dtype(), shape, values)?])
    }
}
