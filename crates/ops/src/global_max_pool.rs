//! `GlobalMaxPool`: largest value of each channel.
//!
//! <https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::gradient::{Gradients, of_one, rank, shared_among_equal};
use crate::numeric::{floats, from_f64};
use crate::pool::{global_pool, infer_global};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "GlobalMaxPool",
    domain: "",
    since: 1,
    read: |_| Ok(Arc::new(GlobalMaxPool)),
    samples: || {
        vec![Sample::new([ramp(&[2, 3, 4, 5])]), Sample::new([ramp(&[1, 2, 7])]), Sample::new([ramp(&[0, 2, 3])])]
    },
};

/// `GlobalMaxPool`: `[n, c, spatial…]` to `[n, c, 1…]`.
#[derive(Debug, Clone, Copy)]
pub struct GlobalMaxPool;

impl Op for GlobalMaxPool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_global(inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (shape, values) = global_pool(x, &floats(0, x)?, |values| {
            values.iter().copied().fold(f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a })
        })?;
        Ok(vec![from_f64(x.dtype(), shape, values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let axes: Vec<i64> = (2..rank(vjp, 0)? as i64).collect();
        of_one(vjp, |dy, x, y| shared_among_equal(dy, &x, y, &axes))
    }
}
