//! `Conv`: grouped N-dimensional cross-correlation, plain form.
//!
//! <https://onnx.ai/onnx/operators/onnx__Conv.html>

use std::any::Any;
use std::sync::Arc;

use half::{bf16, f16};
use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, WeightAxes};
use lissom_tensor::{DType, Storage, Strided, Tensor, checked_len, strides};

use crate::Window;
use crate::window::AxisWindow;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Conv",
    domain: "",
    since: 1,
    read: |node| {
        let groups = node.int_or("group", 1)?;
        let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
        let groups = groups.ok_or_else(|| OpError::attribute("group", "must be positive"))?;
        Ok(Arc::new(Conv { window: Window::read(node)?, groups }))
    },
    samples,
};

/// `Conv`: input `[n, c_in, spatial…]`, weight `[c_out, c_in / groups, kernel…]`, bias `[c_out]`.
#[derive(Debug, Clone)]
pub struct Conv {
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Channels are split into this many groups that do not see each other.
    pub groups: usize,
}

impl Op for Conv {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0).or(inputs.dtype(1));
        let (Some(x), Some(weight)) = (inputs.shape(0), inputs.shape(1)) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        if x.len() < 3 || weight.len() != x.len() {
            return Err(OpError::value(format!("input of rank {} with a weight of rank {}", x.len(), weight.len())));
        }
        let kernel: Option<Vec<usize>> = weight[2..].iter().map(Dim::known).collect();
        let Some(kernel) = kernel else { return Ok(vec![Fact::maybe(dtype, None)]) };
        let mut shape = vec![x[0].clone(), weight[0].clone()];
        shape.extend(self.window.output_dims(&x[2..], &kernel)?);
        Ok(vec![Fact::maybe(dtype, Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, weight, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let geometry = self.geometry(x, weight, bias)?;
        let values =
            geometry.run(&x.to_f64_vec()?, &weight.to_f64_vec()?, bias.map(Tensor::to_f64_vec).transpose()?)?;
        let storage = match x.dtype() {
            DType::F32 => Storage::F32(values.into_iter().map(|v| v as f32).collect()),
            DType::F64 => Storage::F64(values),
            DType::F16 => Storage::F16(values.into_iter().map(f16::from_f64).collect()),
            DType::BF16 => Storage::BF16(values.into_iter().map(bf16::from_f64).collect()),
            actual => return Err(OpError::UnsupportedType { index: 0, actual }),
        };
        Ok(vec![Tensor::from_storage(geometry.out_shape(), storage)?])
    }

    fn weight_axes(&self, _inputs: &Facts<'_>) -> Option<WeightAxes> {
        Some(WeightAxes { weight_input: 1, bias_input: Some(2), c_out: 0, c_in: 1, groups: self.groups })
    }

    fn macs(&self, inputs: &[Option<Vec<usize>>], outputs: &[Vec<usize>]) -> u64 {
        let (Some(Some(weight)), Some(out)) = (inputs.get(1), outputs.first()) else { return 0 };
        let per_output: u64 = weight.iter().skip(1).map(|&length| length as u64).product();
        out.iter().map(|&length| length as u64).product::<u64>() * per_output
    }
}

impl Conv {
    fn geometry(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Geometry, OpError> {
        let (xs, ws) = (x.shape(), weight.shape());
        if xs.len() < 3 || ws.len() != xs.len() {
            return Err(OpError::shape(
                1,
                ws,
                format!("the weight of an input of rank {} has the same rank", xs.len()),
            ));
        }
        if ws[1].checked_mul(self.groups) != Some(xs[1]) || ws[0] % self.groups != 0 {
            let reason = format!("{} input channels in {} groups do not fit", xs[1], self.groups);
            return Err(OpError::shape(1, ws, reason));
        }
        if let Some(bias) = bias
            && bias.shape() != [ws[0]]
        {
            return Err(OpError::shape(2, bias.shape(), format!("one bias for each of {} channels", ws[0])));
        }
        let windows = self.window.resolve(&xs[2..], &ws[2..])?;
        Ok(Geometry {
            batch: xs[0],
            c_in: xs[1],
            c_out: ws[0],
            groups: self.groups,
            spatial: xs[2..].to_vec(),
            windows,
        })
    }
}

struct Geometry {
    batch: usize,
    c_in: usize,
    c_out: usize,
    groups: usize,
    spatial: Vec<usize>,
    windows: Vec<AxisWindow>,
}

impl Geometry {
    fn out_shape(&self) -> Vec<usize> {
        let spatial = self.windows.iter().map(|window| window.out);
        [self.batch, self.c_out].into_iter().chain(spatial).collect()
    }

    /// `out[n, o, p] = bias[o] + Σ_{i, k} x[n, group(o) + i, p·stride + k·dilation − pad] · weight[o, i, k]`, in f64.
    fn run(&self, x: &[f64], weight: &[f64], bias: Option<Vec<f64>>) -> Result<Vec<f64>, OpError> {
        let len = checked_len(DType::F64, &self.out_shape())?;
        let c_in_group = self.c_in / self.groups;
        let c_out_group = self.c_out / self.groups;
        let image_len: usize = self.spatial.iter().product();
        let kernel_shape: Vec<usize> = self.windows.iter().map(|window| window.kernel).collect();
        let taps = positions(&kernel_shape);
        let pixels = positions(&self.windows.iter().map(|window| window.out).collect::<Vec<_>>());
        let mut out = Vec::with_capacity(len);
        for n in 0..self.batch {
            for o in 0..self.c_out {
                let first_channel = n * self.c_in + o / c_out_group * c_in_group;
                for pixel in &pixels {
                    let mut sum = bias.as_ref().map_or(0.0, |bias| bias[o]);
                    for (k, tap) in taps.iter().enumerate() {
                        let Some(offset) = self.source(pixel, tap) else { continue };
                        for i in 0..c_in_group {
                            sum += x[(first_channel + i) * image_len + offset]
                                * weight[(o * c_in_group + i) * taps.len() + k];
                        }
                    }
                    out.push(sum);
                }
            }
        }
        Ok(out)
    }

    /// Flat position in one channel of the input, unless it lies in the padding.
    fn source(&self, pixel: &[usize], tap: &[usize]) -> Option<usize> {
        let steps = strides(&self.spatial);
        let mut flat = 0;
        for (axis, window) in self.windows.iter().enumerate() {
            let position = (pixel[axis] * window.stride + tap[axis] * window.dilation) as i64 - window.pad_begin;
            let position = usize::try_from(position).ok().filter(|&position| position < self.spatial[axis])?;
            flat += position * steps[axis];
        }
        Some(flat)
    }
}

/// Every position in `shape`, row-major.
fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    let steps = strides(shape);
    let flat = Strided::new(shape.to_vec(), steps.iter().map(|&step| step as isize).collect(), 0);
    flat.map(|index| shape.iter().zip(&steps).map(|(&length, &step)| index / step % length).collect()).collect()
}

fn samples() -> Vec<Sample> {
    let ramp = |shape: &[usize]| {
        let len = shape.iter().product::<usize>();
        Tensor::new(shape, (0..len).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<_>>())
            .unwrap_or_else(|_| Tensor::scalar(0f32))
    };
    vec![
        Sample::new([ramp(&[2, 3, 5, 4]), ramp(&[4, 3, 3, 3]), ramp(&[4])]).with("pads", vec![1i64, 1, 1, 1]),
        Sample::new([ramp(&[1, 4, 6, 6]), ramp(&[4, 1, 3, 3])]).with("group", 4i64).with("strides", vec![2i64, 2]),
        Sample::new([ramp(&[1, 2, 9]), ramp(&[3, 2, 2])]).with("dilations", vec![3i64]),
        Sample::new([ramp(&[1, 2, 5, 5]), ramp(&[2, 2, 3, 3])])
            .with("auto_pad", "SAME_UPPER")
            .with("strides", vec![2i64, 2]),
    ]
}
