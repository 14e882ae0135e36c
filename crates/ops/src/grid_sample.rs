//! `GridSample`: values of an image at given positions, interpolated.
//!
//! <https://onnx.ai/onnx/operators/onnx__GridSample.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len, strides};

use crate::numeric::{floats, from_f64};

pub(crate) const OP: OpSpec = OpSpec {
    name: "GridSample",
    domain: "",
    since: 16,
    read: |node| {
        let mode = match node.string_or("mode", "linear")?.as_str() {
            "linear" | "bilinear" => GridMode::Linear,
            "cubic" | "bicubic" => GridMode::Cubic,
            "nearest" => GridMode::Nearest,
            other => return Err(OpError::attribute("mode", format!("`{other}` is not linear, cubic or nearest"))),
        };
        let padding = match node.string_or("padding_mode", "zeros")?.as_str() {
            "zeros" => GridPadding::Zeros,
            "border" => GridPadding::Border,
            "reflection" => GridPadding::Reflection,
            other => return Err(OpError::attribute("padding_mode", format!("`{other}` is not known"))),
        };
        Ok(Arc::new(GridSample { mode, padding, align_corners: node.flag_or("align_corners", false)? }))
    },
    samples: || {
        let image = || Tensor::new([1, 2, 2, 3], (0..12).map(|i| i as f32).collect::<Vec<_>>());
        let grid = || Tensor::new([1, 1, 3, 2], vec![-1f32, -1.0, 0.1, 0.2, 1.5, 0.9]);
        let case = || Sample::new(image().into_iter().chain(grid()));
        vec![
            case(),
            case().with("mode", "cubic").with("padding_mode", "reflection"),
            case().with("mode", "nearest").with("padding_mode", "border").with("align_corners", 1i64),
        ]
    },
};

/// `GridSample`: image `[n, c, spatial…]`, positions `[n, out…, axes]` with the last axis first, output `[n, c, out…]`.
#[derive(Debug, Clone, Copy)]
pub struct GridSample {
    /// How values between pixels are found.
    pub mode: GridMode,
    /// What lies outside the image.
    pub padding: GridPadding,
    /// −1 and 1 are the centres of the border's pixels instead of their outer edges.
    pub align_corners: bool,
}

/// How values between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // ONNX's names
pub enum GridMode {
    Linear,
    Cubic,
    Nearest,
}

/// What lies outside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // ONNX's names
pub enum GridPadding {
    Zeros,
    Border,
    Reflection,
}

impl GridSample {
    /// First and last coordinate of an axis.
    fn border(&self, length: usize) -> [f64; 2] {
        if self.align_corners { [0.0, length as f64 - 1.0] } else { [-0.5, length as f64 - 0.5] }
    }

    /// The coordinate in pixels, brought into the image as the padding says.
    fn coordinate(&self, normalized: f64, length: usize) -> f64 {
        let n = length as f64;
        let x = match self.align_corners {
            true => (normalized + 1.0) / 2.0 * (n - 1.0),
            false => ((normalized + 1.0) * n - 1.0) / 2.0,
        };
        let x = if self.mode == GridMode::Nearest { x.round_ties_even() } else { x };
        let [low, high] = self.border(length);
        match self.padding {
            _ if (low..=high).contains(&x) => x,
            GridPadding::Zeros => x,
            GridPadding::Border => x.clamp(0.0, (n - 1.0).max(0.0)),
            GridPadding::Reflection => reflected(x, low, high),
        }
    }

    /// The pixel at a whole position, `None` where the padding is zero.
    fn pixel(&self, position: f64, length: usize) -> Option<usize> {
        let last = length as f64 - 1.0;
        if (0.0..=last).contains(&position) {
            return Some(position as usize);
        }
        match self.padding {
            GridPadding::Zeros => None,
            GridPadding::Border => Some(position.clamp(0.0, last) as usize),
            GridPadding::Reflection => {
                let [low, high] = self.border(length);
                Some(reflected(position, low, high).clamp(0.0, last) as usize)
            }
        }
    }

    /// Pixels and weights that make up the value at a coordinate of one axis.
    fn taps(&self, x: f64, length: usize, taps: &mut Vec<(Option<usize>, f64)>) {
        taps.clear();
        let floor = x.floor();
        let t = x - floor;
        match self.mode {
            GridMode::Nearest => taps.push((self.pixel(x, length), 1.0)),
            GridMode::Linear => {
                taps.push((self.pixel(floor, length), 1.0 - t));
                taps.push((self.pixel(floor + 1.0, length), t));
            }
            GridMode::Cubic => {
                for offset in -1..=2 {
                    let offset = f64::from(offset);
                    taps.push((self.pixel(floor + offset, length), cubic((t - offset).abs())));
                }
            }
        }
    }
}

/// The cubic convolution kernel with coefficient −0.75.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    if x <= 1.0 { ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0 } else { ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A }
}

/// `x` mirrored at both borders until it lies between them.
fn reflected(x: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if range <= 0.0 || !x.is_finite() {
        return low;
    }
    let within = (x - low).rem_euclid(2.0 * range);
    low + within.min(2.0 * range - within)
}

impl Op for GridSample {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = match (inputs.shape(0), inputs.shape(1)) {
            (Some([n, c, ..]), Some([_, out @ .., _])) => Some([n, c].into_iter().chain(out).cloned().collect()),
            _ => None,
        };
        Ok(vec![Fact::maybe(inputs.dtype(0), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, grid) = (inputs.required(0)?, inputs.required(1)?);
        let [n, c, spatial @ ..] = x.shape() else {
            return Err(OpError::shape(0, x.shape(), "batch, channels and pixels are expected"));
        };
        let expected = |grid: &[usize]| match grid {
            [batch, out @ .., axes] if batch == n && *axes == spatial.len() => Some(out.to_vec()),
            _ => None,
        };
        let out = expected(grid.shape()).filter(|_| !spatial.is_empty());
        let out = out.ok_or_else(|| OpError::shape(1, grid.shape(), format!("no grid for {:?}", x.shape())))?;
        let shape = [&[*n, *c], &out[..]].concat();
        let len = checked_len(DType::F64, &shape)?;
        if len > 0 && spatial.contains(&0) {
            return Err(OpError::shape(0, x.shape(), "an empty image has no values"));
        }
        let (values, positions) = (floats(0, x)?, floats(1, grid)?);
        let steps = strides(spatial);
        let (image_len, n_points) = (spatial.iter().product::<usize>(), out.iter().product::<usize>());
        let mut result = vec![0.0; len];
        let mut axis_taps = Vec::new();
        let mut taps: Vec<(usize, f64)> = Vec::new();
        for (at, position) in positions.chunks(spatial.len().max(1)).enumerate().take(n * n_points) {
            taps.clear();
            taps.push((0, 1.0));
            for (axis, (&length, step)) in spatial.iter().zip(&steps).enumerate() {
                self.taps(self.coordinate(position[spatial.len() - 1 - axis], length), length, &mut axis_taps);
                let inside = axis_taps.iter().filter_map(|&(pixel, weight)| Some((pixel? * step, weight)));
                let inside: Vec<(usize, f64)> = inside.collect();
                taps = taps
                    .iter()
                    .flat_map(|&(base, w)| inside.iter().map(move |&(offset, weight)| (base + offset, w * weight)))
                    .collect();
            }
            let (batch, point) = (at / n_points.max(1), at % n_points.max(1));
            for channel in 0..*c {
                let image = &values[(batch * c + channel) * image_len..][..image_len];
                let sum = taps.iter().map(|&(pixel, weight)| image[pixel] * weight).sum();
                result[(batch * c + channel) * n_points + point] = sum;
            }
        }
        Ok(vec![from_f64(x.dtype(), shape, result)?])
    }
}
