//! `AffineGrid`: the positions an affine map takes an evenly spaced grid to.
//!
//! <https://onnx.ai/onnx/operators/onnx__AffineGrid.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len, strides};

use crate::constant_of_shape::shape_of;
use crate::numeric::{floats, from_f64};

pub(crate) const OP: OpSpec = OpSpec {
    name: "AffineGrid",
    domain: "",
    since: 20,
    read: |node| Ok(Arc::new(AffineGrid { align_corners: node.flag_or("align_corners", false)? })),
    samples: || {
        let theta = || Tensor::new([1, 2, 3], vec![1f32, 0.5, 0.1, -0.5, 1.0, 0.0]);
        let case = || Sample::new(theta().into_iter().chain([Tensor::vector(vec![1i64, 1, 2, 3])]));
        let volume = Tensor::new([1, 3, 4], (0..12).map(|i| i as f32).collect::<Vec<_>>());
        let volume = Sample::new(volume.into_iter().chain([Tensor::vector(vec![1i64, 1, 2, 1, 3])]));
        vec![case(), case().with("align_corners", 1i64), volume]
    },
};

/// `AffineGrid`: maps `[n, d, d + 1]` and a shape `[n, c, spatial…]` to positions `[n, spatial…, d]`.
#[derive(Debug, Clone, Copy)]
pub struct AffineGrid {
    /// −1 and 1 are the centres of the border's pixels instead of their outer edges.
    pub align_corners: bool,
}

impl AffineGrid {
    fn coordinate(&self, position: usize, length: usize) -> f64 {
        let (position, length) = (position as f64, length as f64);
        match self.align_corners {
            true if length > 1.0 => 2.0 * position / (length - 1.0) - 1.0,
            true => -1.0,
            false => (2.0 * position + 1.0) / length - 1.0,
        }
    }
}

impl Op for AffineGrid {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = inputs.get(1).as_dims().filter(|dims| dims.len() > 2).map(|mut dims| {
            dims.remove(1);
            let n_axes = dims.len() - 1;
            dims.push(Dim::from(n_axes));
            dims
        });
        Ok(vec![Fact::maybe(inputs.dtype(0), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (theta, size) = (inputs.required(0)?, shape_of(&inputs.required(1)?.to_i64_vec()?)?);
        let [n, _, spatial @ ..] = &size[..] else { return Err(OpError::value(format!("a grid of shape {size:?}"))) };
        let d = spatial.len();
        if d == 0 || theta.shape() != [*n, d, d + 1] {
            return Err(OpError::shape(0, theta.shape(), format!("maps for a grid of shape {size:?} are expected")));
        }
        let shape = [&[*n], spatial, &[d]].concat();
        let mut out = Vec::with_capacity(checked_len(DType::F64, &shape)?);
        let maps = floats(0, theta)?;
        let steps = strides(spatial);
        let n_points: usize = spatial.iter().product();
        for map in maps.chunks(d * (d + 1)).take(*n) {
            for point in 0..n_points {
                for row in map.chunks(d + 1) {
                    // Coordinates count from the last axis: x is the width.
                    let terms = (0..d).map(|i| {
                        let axis = d - 1 - i;
                        row[i] * self.coordinate(point / steps[axis] % spatial[axis], spatial[axis])
                    });
                    out.push(terms.sum::<f64>() + row[d]);
                }
            }
        }
        Ok(vec![from_f64(theta.dtype(), shape, out)?])
    }
}
