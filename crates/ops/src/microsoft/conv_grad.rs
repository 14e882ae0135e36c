//! `ConvGrad`: the gradients of `Conv`, plain form.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/orttraining/orttraining/core/graph/training_op_defs.cc>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::Conv;
use crate::conv::Geometry;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::ramp;
use crate::window::for_each_view;

pub(crate) const OP: OpSpec = OpSpec {
    name: "ConvGrad",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(ConvGrad { conv: Conv::read(node)? })),
    samples: || {
        vec![
            Sample::new([ramp(&[2, 4, 5, 4]), ramp(&[2, 3, 5, 4]), ramp(&[4, 3, 3, 3])])
                .with("pads", vec![1i64, 1, 1, 1])
                .outputs(3),
            Sample::new([ramp(&[1, 4, 3]), ramp(&[1, 2, 6]), ramp(&[4, 1, 2])])
                .with("group", 2i64)
                .with("strides", vec![2i64])
                .outputs(2),
        ]
    },
};

/// `ConvGrad`: inputs dY, X and W of the convolution, whose attributes it has; outputs dX, dW and dB.
#[derive(Debug, Clone)]
pub struct ConvGrad {
    /// The convolution.
    pub conv: Conv,
}

impl Op for ConvGrad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let like = |index: usize| Fact::maybe(inputs.dtype(index), inputs.shape(index).map(<[_]>::to_vec));
        let bias = inputs.shape(2).and_then(|w| Some(vec![w.first()?.clone()]));
        Ok(vec![like(1), like(2), Fact::maybe(inputs.dtype(2), bias)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (dy, x, w) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let geometry = self.conv.geometry(x, w, None)?;
        expect_shape(0, dy, &geometry.out_shape())?;
        let [dx, dw, db] = gradients(&geometry, &floats(0, dy)?, &floats(1, x)?, &floats(2, w)?);
        Ok(vec![
            from_f64(x.dtype(), x.shape().to_vec(), dx)?,
            from_f64(w.dtype(), w.shape().to_vec(), dw)?,
            from_f64(w.dtype(), vec![w.shape()[0]], db)?,
        ])
    }

    /// Twice those of the convolution.
    fn macs(&self, inputs: &[Option<Vec<usize>>], _outputs: &[Vec<usize>]) -> u64 {
        let (Some(Some(dy)), Some(Some(w))) = (inputs.first(), inputs.get(2)) else { return 0 };
        w.iter().skip(1).chain(dy).fold(2, |macs, &length| macs.saturating_mul(length as u64))
    }
}

/// Each tap of the convolution in both directions.
fn gradients(geometry: &Geometry, dy: &[f64], x: &[f64], w: &[f64]) -> [Vec<f64>; 3] {
    let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; geometry.c_out]);
    if dy.is_empty() {
        return [dx, dw, db];
    }
    let (c_in_group, c_out_group) = (geometry.c_in / geometry.groups, geometry.c_out / geometry.groups);
    let image_len: usize = geometry.spatial.iter().product();
    let out_len: usize = geometry.windows.iter().map(|window| window.out).product();
    let kernel_len: usize = geometry.windows.iter().map(|window| window.kernel).product();
    for_each_view(&geometry.windows, &geometry.spatial, |view| {
        for n in 0..geometry.batch {
            for o in 0..geometry.c_out {
                let dy = dy[(n * geometry.c_out + o) * out_len + view.pixel];
                db[o] += dy;
                for i in 0..c_in_group {
                    let image = (n * geometry.c_in + o / c_out_group * c_in_group + i) * image_len;
                    let kernel = (o * c_in_group + i) * kernel_len;
                    for &(tap, at) in view.taps {
                        dx[image + at] += dy * w[kernel + tap];
                        dw[kernel + tap] += dy * x[image + at];
                    }
                }
            }
        }
    });
    [dx, dw, db]
}
