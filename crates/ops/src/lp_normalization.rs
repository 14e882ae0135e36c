//! `LpNormalization`: divides by the L1 or L2 norm along an axis; where the norm is 0, gives 0.
//!
//! <https://onnx.ai/onnx/operators/onnx__LpNormalization.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::gradient::{Gradients, of_expansion, x};
use crate::lp_pool::lp_norm;
use crate::numeric::{floats, from_f64};
use crate::sample_data::{filled, ramp};
use crate::softmax_axis::SoftmaxAxis;

pub(crate) const OP: OpSpec = OpSpec {
    name: "LpNormalization",
    domain: "",
    since: 1,
    read: |node| {
        let p = node.int_or("p", 2)?;
        if p != 1 && p != 2 {
            return Err(OpError::attribute("p", format!("{p} is neither 1 nor 2")));
        }
        Ok(Arc::new(LpNormalization { axis: node.int_or("axis", -1)?, p: p as f64 }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 3])]),
            Sample::new([ramp(&[2, 3, 2])]).with("axis", 1i64).with("p", 1i64),
            Sample::new([filled(&[1, 2], vec![0f32, 0.0])]),
        ]
    },
};

/// `LpNormalization`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LpNormalization {
    /// May be negative.
    pub axis: i64,
    /// 1 or 2.
    pub p: f64,
}

impl Op for LpNormalization {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut values = floats(0, x)?;
        let along = SoftmaxAxis { axis: self.axis, flattens: false };
        along.apply(x.shape(), &mut values, |vector| {
            let norm = lp_norm(vector.iter().copied(), self.p);
            vector.iter_mut().for_each(|x| *x = if norm == 0.0 { 0.0 } else { *x / norm });
        })?;
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let norm = if self.p == 1.0 { "ReduceL1" } else { "ReduceL2" };
        of_expansion(vjp, |vjp| {
            let data = x(vjp, 0)?;
            Ok(vec![Some(data.clone() / data.reduce(norm, [self.axis], true))])
        })
    }
}
