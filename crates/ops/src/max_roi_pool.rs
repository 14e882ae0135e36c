//! `MaxRoiPool`: largest values of boxes of feature maps, on a grid of whole pixels.
//!
//! <https://onnx.ai/onnx/operators/onnx__MaxRoiPool.html>

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::{floats, from_f64};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "MaxRoiPool",
    domain: "",
    since: 1,
    read: |node| {
        let lengths = node.ints("pooled_shape")?.unwrap_or_default();
        let lengths: Vec<usize> =
            lengths.into_iter().filter_map(|length| usize::try_from(length).ok().filter(|&n| n > 0)).collect();
        let [height, width] = lengths[..] else {
            return Err(OpError::attribute("pooled_shape", "must be two positive lengths"));
        };
        Ok(Arc::new(MaxRoiPool { output: [height, width], spatial_scale: node.float_or("spatial_scale", 1.0)? }))
    },
    samples: || {
        let rois = filled(&[2, 5], vec![0f32, 0., 0., 3., 3., 1., 2., 1., 9., 4.]);
        vec![
            Sample::new([ramp(&[2, 2, 6, 5]), rois.clone()]).with("pooled_shape", vec![2i64, 3]),
            Sample::new([ramp(&[2, 1, 4, 4]), rois]).with("pooled_shape", vec![1i64, 1]).with("spatial_scale", 0.5f32),
        ]
    },
};

/// `MaxRoiPool`: inputs x `[n, c, h, w]`, boxes `[rois, 5]` as image, x₁, y₁, x₂, y₂.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaxRoiPool {
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Factor from the coordinates of boxes to those of the map.
    pub spatial_scale: f32,
}

impl MaxRoiPool {
    /// The pixels each output covers along one axis.
    fn ranges(&self, start: f64, end: f64, length: usize, outputs: usize) -> Vec<Range<usize>> {
        let scale = f64::from(self.spatial_scale);
        let (start, end) = ((start * scale).round(), (end * scale).round());
        let bin = (end - start + 1.0).max(1.0) / outputs as f64;
        let edge = |position: f64| (position + start).clamp(0.0, length as f64) as usize;
        (0..outputs).map(|i| edge((i as f64 * bin).floor())..edge(((i + 1) as f64 * bin).ceil())).collect()
    }
}

impl Op for MaxRoiPool {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = match (inputs.shape(0), inputs.shape(1)) {
            (Some([_, c, _, _]), Some([rois, _])) => {
                Some(vec![rois.clone(), c.clone(), self.output[0].into(), self.output[1].into()])
            }
            _ => None,
        };
        Ok(vec![Fact::maybe(inputs.dtype(0), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, rois) = (inputs.required(0)?, inputs.required(1)?);
        let (&[batch, channels, height, width], &[n_rois, 5]) = (x.shape(), rois.shape()) else {
            return Err(OpError::shape(0, x.shape(), "expected [n, c, h, w] and boxes [rois, 5]"));
        };
        let [out_h, out_w] = self.output;
        let shape = vec![n_rois, channels, out_h, out_w];
        let mut out = Vec::with_capacity(checked_len(DType::F64, &shape)?);
        let (values, boxes) = (floats(0, x)?, floats(1, rois)?);
        for roi in boxes.chunks_exact(5) {
            if !(0.0..batch as f64).contains(&roi[0]) {
                return Err(OpError::value(format!("a box of image {} of {batch}", roi[0])));
            }
            let image = roi[0] as usize;
            let rows = self.ranges(roi[2], roi[4], height, out_h);
            let columns = self.ranges(roi[1], roi[3], width, out_w);
            for channel in 0..channels {
                let map = &values[(image * channels + channel) * height * width..][..height * width];
                for row in &rows {
                    out.extend(columns.iter().map(|column| {
                        let pixels = row.clone().flat_map(|y| map[y * width..][column.clone()].iter().copied());
                        pixels.reduce(f64::max).unwrap_or(0.0)
                    }));
                }
            }
        }
        Ok(vec![from_f64(x.dtype(), shape, out)?])
    }
}
