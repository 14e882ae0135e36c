//! `GlobalAveragePool`: mean of each channel.
//!
//! <https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::gradient::{Gradients, of_one};
use crate::numeric::{floats, from_f64};
use crate::pool::{global_pool, infer_global};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "GlobalAveragePool",
    domain: "",
    since: 1,
    read: |_| Ok(Arc::new(GlobalAveragePool)),
    samples: || {
        vec![Sample::new([ramp(&[2, 3, 4, 5])]), Sample::new([ramp(&[1, 2, 7])]), Sample::new([ramp(&[0, 2, 3])])]
    },
};

/// `GlobalAveragePool`: `[n, c, spatial…]` to `[n, c, 1…]`.
#[derive(Debug, Clone, Copy)]
pub struct GlobalAveragePool;

impl Op for GlobalAveragePool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_global(inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (shape, values) =
            global_pool(x, &floats(0, x)?, |values| values.iter().sum::<f64>() / values.len() as f64)?;
        Ok(vec![from_f64(x.dtype(), shape, values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let dtype = vjp.facts.dtype(0).ok_or(NoGradient)?;
        of_one(vjp, |dy, x, y| {
            let n_elements = x.clone().apply("Size") / y.apply("Size");
            (dy / n_elements.cast(dtype)).expand_like(&x)
        })
    }
}
