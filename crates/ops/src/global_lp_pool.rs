//! `GlobalLpPool`: Lp norm of each channel.
//!
//! <https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::lp_pool::{lp_norm, read_p};
use crate::numeric::{floats, from_f64};
use crate::pool::{global_pool, infer_global};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "GlobalLpPool",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(GlobalLpPool { p: read_p(node)? })),
    samples: || vec![Sample::new([ramp(&[2, 3, 4])]), Sample::new([ramp(&[1, 2, 2, 3])]).with("p", 3i64)],
};

/// `GlobalLpPool`: `[n, c, spatial…]` to `[n, c, 1…]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GlobalLpPool {
    /// Order of the norm.
    pub p: f64,
}

impl Op for GlobalLpPool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_global(inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (shape, values) = global_pool(x, &floats(0, x)?, |values| lp_norm(values.iter().copied(), self.p))?;
        Ok(vec![from_f64(x.dtype(), shape, values)?])
    }
}
