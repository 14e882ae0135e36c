//! `AveragePoolGrad`: the gradient of `AveragePool`, each value spread evenly over its window.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>
//!
//! ONNX Runtime takes the shape of dX from the declared type of the output; here it is a second input, so that it need not
//! be known before a run.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use super::gather_grad::infer_gradient;
use crate::AveragePool;
use crate::constant_of_shape::shape_of;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::pool::read_window;
use crate::sample_data::ramp;
use crate::window::for_each_view;

pub(crate) const OP: OpSpec = OpSpec {
    name: "AveragePoolGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| {
        let pool =
            AveragePool { window: read_window(node)?, count_include_pad: node.flag_or("count_include_pad", false)? };
        Ok(Arc::new(AveragePoolGrad { pool }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[1, 2, 3]), Tensor::vector(vec![1i64, 2, 5])])
                .with("kernel_shape", vec![3i64])
                .with("strides", vec![2i64])
                .with("pads", vec![1i64, 1]),
        ]
    },
};

/// `AveragePoolGrad`: inputs dY and the shape of X; output dX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AveragePoolGrad {
    /// The pool.
    pub pool: AveragePool,
}

impl Op for AveragePoolGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_gradient(inputs, 0, 1)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let dy = inputs.required(0)?;
        let shape = shape_of(&inputs.required(1)?.to_i64_vec()?)?;
        let &[batch, channels, ref spatial @ ..] = &shape[..] else {
            return Err(OpError::value(format!("the shape {shape:?} has no channels")));
        };
        let windows = self.pool.window.resolve(spatial, &self.pool.window.kernel)?;
        let out = windows.iter().map(|window| window.out);
        expect_shape(0, dy, &[batch, channels].into_iter().chain(out).collect::<Vec<_>>())?;
        let values = floats(0, dy)?;
        let mut dx = vec![0.0; checked_len(DType::F64, &shape)?];
        if !values.is_empty() && !dx.is_empty() {
            let n_channels = batch * channels;
            let (image_len, out_len) = (dx.len() / n_channels, values.len() / n_channels);
            for_each_view(&windows, spatial, |view| {
                let count = if self.pool.count_include_pad { view.n_padded } else { view.taps.len() };
                for channel in 0..n_channels {
                    let share = values[channel * out_len + view.pixel] / count as f64;
                    view.taps.iter().for_each(|&(_, at)| dx[channel * image_len + at] += share);
                }
            });
        }
        Ok(vec![from_f64(dy.dtype(), shape, dx)?])
    }
}
