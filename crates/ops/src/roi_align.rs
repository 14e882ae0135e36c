//! `RoiAlign`: pools boxes of feature maps, sampled by bilinear interpolation.
//!
//! <https://onnx.ai/onnx/operators/onnx__RoiAlign.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "RoiAlign",
    domain: "",
    since: 10,
    read: |node| Ok(Arc::new(RoiAlign::read(node)?)),
    samples: || {
        let sample = || {
            let rois = filled(&[2, 4], vec![0f32, 0., 4., 4., 2., 1., 7., 9.]);
            Sample::new([ramp(&[2, 2, 6, 5]), rois, Tensor::vector(vec![0i64, 1])])
                .with("output_height", 2i64)
                .with("output_width", 3i64)
        };
        vec![
            sample().with("sampling_ratio", 2i64),
            sample().with("mode", "max").with("coordinate_transformation_mode", "output_half_pixel"),
        ]
    },
};

/// Samples a box may take along an axis: more than any real map has, so that a hostile box does not run forever.
const MAX_SAMPLES: f64 = 65536.0;

/// `RoiAlign`: inputs x `[n, c, h, w]`, boxes `[rois, 4]` as x₁, y₁, x₂, y₂, image of each box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlign {
    /// The largest sample instead of the mean.
    pub is_max: bool,
    /// Pixels have their centres at halves.
    pub half_pixel: bool,
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Samples along each axis of an output; 0 for about one a pixel.
    pub sampling_ratio: usize,
    /// Factor from the coordinates of boxes to those of the map.
    pub spatial_scale: f32,
}

impl RoiAlign {
    fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let length = |name, default| -> Result<usize, OpError> {
            let value = node.int_or(name, default)?;
            usize::try_from(value).map_err(|_| OpError::attribute(name, format!("{value} is negative")))
        };
        let default = if node.opset() < 16 { "output_half_pixel" } else { "half_pixel" };
        let half_pixel = match node.string_or("coordinate_transformation_mode", default)?.as_str() {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => {
                return Err(OpError::attribute("coordinate_transformation_mode", format!("unknown value `{other}`")));
            }
        };
        let is_max = match node.string_or("mode", "avg")?.as_str() {
            "avg" => false,
            "max" => true,
            other => return Err(OpError::attribute("mode", format!("unknown value `{other}`"))),
        };
        Ok(Self {
            is_max,
            half_pixel,
            output: [length("output_height", 1)?, length("output_width", 1)?],
            sampling_ratio: length("sampling_ratio", 0)?,
            spatial_scale: node.float_or("spatial_scale", 1.0)?,
        })
    }

    /// For each output along one axis, its samples.
    fn samples(&self, start: f64, end: f64, length: usize, outputs: usize) -> Result<Vec<Vec<Sampled>>, OpError> {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let scale = f64::from(self.spatial_scale);
        let (start, end) = (start * scale - offset, end * scale - offset);
        let size = if self.half_pixel { end - start } else { (end - start).max(1.0) };
        let bin = size / outputs as f64;
        let count = if self.sampling_ratio > 0 { self.sampling_ratio as f64 } else { bin.ceil() };
        if !count.is_finite() || count > MAX_SAMPLES {
            return Err(OpError::value(format!("a box from {start} to {end} takes too many samples")));
        }
        checked_len(DType::F64, &[outputs, 4 * (count.max(0.0) as usize)])?;
        let position = |output: usize, i: usize| start + output as f64 * bin + (i as f64 + 0.5) * bin / count;
        let samples = |output| (0..count.max(0.0) as usize).map(|i| sampled(position(output, i), length)).collect();
        Ok((0..outputs).map(samples).collect())
    }
}

/// The two neighbours of a position and their weights; no weight outside the map.
#[derive(Debug, Clone, Copy)]
struct Sampled([(usize, f64); 2]);

fn sampled(position: f64, length: usize) -> Sampled {
    if length == 0 || !(-1.0..=length as f64).contains(&position) {
        return Sampled([(0, 0.0); 2]);
    }
    let position = position.clamp(0.0, (length - 1) as f64);
    let low = position as usize;
    let share = position - low as f64;
    Sampled([(low, 1.0 - share), ((low + 1).min(length - 1), share)])
}

impl Op for RoiAlign {
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
        let (x, rois, images) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let (&[batch, channels, height, width], &[n_rois, 4]) = (x.shape(), rois.shape()) else {
            return Err(OpError::shape(0, x.shape(), "expected [n, c, h, w] and boxes [rois, 4]"));
        };
        expect_shape(2, images, &[n_rois])?;
        let [out_h, out_w] = self.output;
        let shape = vec![n_rois, channels, out_h, out_w];
        let mut out = Vec::with_capacity(checked_len(DType::F64, &shape)?);
        let (values, boxes) = (floats(0, x)?, floats(1, rois)?);
        for (corners, image) in boxes.chunks_exact(4).zip(images.to_i64_vec()?) {
            let image = usize::try_from(image).ok().filter(|&image| image < batch);
            let image = image.ok_or_else(|| OpError::value(format!("a box of an image outside {batch}")))?;
            let rows = self.samples(corners[1], corners[3], height, out_h)?;
            let columns = self.samples(corners[0], corners[2], width, out_w)?;
            if height * width == 0 {
                continue;
            }
            for channel in 0..channels {
                let map = &values[(image * channels + channel) * height * width..][..height * width];
                for row in &rows {
                    out.extend(columns.iter().map(|column| self.pooled(map, width, row, column)));
                }
            }
        }
        out.resize(checked_len(DType::F64, &shape)?, 0.0);
        Ok(vec![from_f64(x.dtype(), shape, out)?])
    }
}

impl RoiAlign {
    /// One output: the mean of the samples, or the largest weighted neighbour of any sample.
    fn pooled(&self, map: &[f64], width: usize, rows: &[Sampled], columns: &[Sampled]) -> f64 {
        let corners = |row: &Sampled, column: &Sampled| {
            let (row, column) = (row.0, column.0);
            [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| {
                let ((y, y_weight), (x, x_weight)) = (row[i], column[j]);
                map[y * width + x] * y_weight * x_weight
            })
        };
        let all = rows.iter().flat_map(|row| columns.iter().map(move |column| corners(row, column)));
        if self.is_max {
            return all.flatten().reduce(f64::max).unwrap_or(0.0);
        }
        let count = (rows.len() * columns.len()).max(1);
        all.map(|corners| corners.iter().sum::<f64>()).sum::<f64>() / count as f64
    }
}
