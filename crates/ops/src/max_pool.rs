//! `MaxPool`: largest value of each window, and where it stands.
//!
//! <https://onnx.ai/onnx/operators/onnx__MaxPool.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor};

use crate::Window;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x, y};
use crate::numeric::{from_f64, is_wide_float};
use crate::pool::{infer_pool, pool, read_window};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "MaxPool",
    domain: "",
    since: 1,
    read: |node| {
        Ok(Arc::new(MaxPool { window: read_window(node)?, column_major: node.flag_or("storage_order", false)? }))
    },
    samples: || {
        let kernel = || Sample::new([ramp(&[2, 2, 5, 4])]).with("kernel_shape", vec![3i64, 2]);
        vec![
            kernel().with("pads", vec![1i64, 0, 1, 1]),
            kernel().with("storage_order", 1i64).with("strides", vec![2i64, 2]).outputs(2),
            kernel().with("dilations", vec![2i64, 1]).with("ceil_mode", 1i64).outputs(2),
            Sample::new([filled(&[1, 1, 4], vec![3u8, 255, 0, 7])]).with("kernel_shape", vec![2i64]),
        ]
    },
};

/// `MaxPool` of `[n, c, spatial…]`. The second output holds positions in the whole input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxPool {
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Positions count the first spatial axis fastest instead of the last.
    pub column_major: bool,
}

impl Op for MaxPool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let fact = infer_pool(&self.window, inputs)?;
        let indices = Fact::maybe(Some(DType::I64), fact.shape.clone());
        Ok(vec![fact, indices])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        if !is_wide_float(x.dtype()) && !matches!(x.dtype(), DType::I8 | DType::U8) {
            return Err(OpError::UnsupportedType { index: 0, actual: x.dtype() });
        }
        let spatial = x.shape().get(2..).unwrap_or_default();
        let (shape, best) = pool(&self.window, x, &x.to_f64_vec()?, |image, first, view| {
            let mut best: Option<(f64, usize)> = None;
            for &(_, at) in view.taps {
                if best.is_none_or(|(value, _)| image[at] > value) {
                    best = Some((image[at], at));
                }
            }
            // A window of padding alone has no largest value.
            let (value, at) = best.unwrap_or((f64::NEG_INFINITY, 0));
            (value, (first + if self.column_major { column_major(at, spatial) } else { at }) as i64)
        })?;
        let values = best.iter().map(|&(value, _)| value).collect();
        let indices = best.iter().map(|&(_, at)| at).collect();
        Ok(vec![from_f64(x.dtype(), shape.clone(), values)?, Tensor::new(shape, indices)?])
    }

    fn saved_outputs(&self) -> usize {
        2
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        if self.column_major {
            return Err(NoGradient);
        }
        of_output(vjp, |vjp, dy| Ok(vec![Some(Expr::microsoft("MaxPoolGrad", [dy, y(vjp, 1)?, x(vjp, 0)?.shape()]))]))
    }
}

/// A row-major position in `shape`, counted with the first axis fastest.
fn column_major(mut at: usize, shape: &[usize]) -> usize {
    let mut flat = 0;
    for &length in shape.iter().rev() {
        flat = flat * length + at % length;
        at /= length;
    }
    flat
}
