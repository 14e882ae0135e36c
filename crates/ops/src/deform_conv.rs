//! `DeformConv`: convolution whose taps are moved by offsets, sampled by linear interpolation.
//!
//! <https://onnx.ai/onnx/operators/onnx__DeformConv.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, WeightAxes};
use lissom_tensor::{DType, Tensor, checked_len, strides};

use crate::Conv;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::ramp;
use crate::window::{AxisWindow, advance};

pub(crate) const OP: OpSpec = OpSpec {
    name: "DeformConv",
    domain: "",
    since: 19,
    read: |node| {
        let groups = usize::try_from(node.int_or("offset_group", 1)?).ok().filter(|&groups| groups > 0);
        Ok(Arc::new(DeformConv {
            conv: Conv::read(node)?,
            offset_groups: groups.ok_or_else(|| OpError::attribute("offset_group", "must be positive"))?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[1, 2, 4, 4]), ramp(&[3, 2, 2, 2]), ramp(&[1, 8, 3, 3]), ramp(&[3])]),
            Sample {
                inputs: vec![
                    Some(ramp(&[1, 4, 5])),
                    Some(ramp(&[2, 2, 3])),
                    Some(ramp(&[1, 6, 5])),
                    None,
                    Some(ramp(&[1, 6, 5])),
                ],
                n_outputs: 1,
                attributes: Vec::new(),
            }
            .with("group", 2i64)
            .with("offset_group", 2i64)
            .with("pads", vec![1i64, 1]),
        ]
    },
};

/// `DeformConv`: inputs x, weight, offsets `[n, groups · taps · axes, out…]`, bias, mask `[n, groups · taps, out…]`.
#[derive(Debug, Clone)]
pub struct DeformConv {
    /// Window and groups.
    pub conv: Conv,
    /// Channels are split into this many groups with offsets of their own.
    pub offset_groups: usize,
}

impl Op for DeformConv {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.conv.infer(inputs)
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, weight, offset) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let (xs, ws) = (x.shape(), weight.shape());
        let groups = self.conv.groups;
        let fits = xs.len() >= 3 && ws.len() == xs.len() && ws[1].checked_mul(groups) == Some(xs[1]);
        if !fits || ws[0] % groups != 0 || xs[1] % self.offset_groups != 0 {
            return Err(OpError::shape(1, ws, format!("does not fit an input {xs:?} in {groups} groups")));
        }
        let windows = self.conv.window.resolve(&xs[2..], &ws[2..])?;
        let outs: Vec<usize> = windows.iter().map(|window| window.out).collect();
        let shape: Vec<usize> = [xs[0], ws[0]].into_iter().chain(outs.iter().copied()).collect();
        let mut out = vec![0.0; checked_len(DType::F64, &shape)?];
        let n_taps = checked_len(DType::F64, &ws[2..])?;
        let tap_groups = n_taps.saturating_mul(self.offset_groups);
        let field =
            |channels: usize| -> Vec<usize> { [xs[0], channels].into_iter().chain(outs.iter().copied()).collect() };
        expect_shape(2, offset, &field(tap_groups.saturating_mul(windows.len())))?;
        if let Some(mask) = inputs.optional(4) {
            expect_shape(4, mask, &field(tap_groups))?;
        }
        if let Some(bias) = inputs.optional(3) {
            expect_shape(3, bias, &[ws[0]])?;
            let bias = floats(3, bias)?;
            let channel_len = out.len().checked_div(xs[0] * ws[0]).unwrap_or(0).max(1);
            out.iter_mut().enumerate().for_each(|(i, out)| *out = bias[i / channel_len % ws[0]]);
        }
        let sampler = Sampler {
            x: floats(0, x)?,
            x_shape: xs,
            windows: &windows,
            outs: &outs,
            n_taps,
            offset_groups: self.offset_groups,
            offset: floats(2, offset)?,
            mask: inputs.optional(4).map(|mask| floats(4, mask)).transpose()?,
        };
        if !out.is_empty() && n_taps > 0 {
            sampler.convolve(&floats(1, weight)?, ws, groups, &mut out);
        }
        Ok(vec![from_f64(x.dtype(), shape, out)?])
    }

    fn weight_axes(&self, inputs: &Facts<'_>) -> Option<WeightAxes> {
        self.conv.weight_axes(inputs).map(|axes| WeightAxes { bias_input: Some(3), ..axes })
    }

    fn macs(&self, inputs: &[Option<Vec<usize>>], outputs: &[Vec<usize>]) -> u64 {
        self.conv.macs(inputs, outputs)
    }
}

struct Sampler<'a> {
    x: Vec<f64>,
    x_shape: &'a [usize],
    windows: &'a [AxisWindow],
    outs: &'a [usize],
    n_taps: usize,
    offset_groups: usize,
    offset: Vec<f64>,
    mask: Option<Vec<f64>>,
}

impl Sampler<'_> {
    /// Adds each sampled tap times its weights to the outputs.
    fn convolve(&self, weight: &[f64], weight_shape: &[usize], groups: usize, out: &mut [f64]) {
        let (c_in, c_out, c_in_group) = (self.x_shape[1], weight_shape[0], weight_shape[1]);
        let out_len: usize = self.outs.iter().product();
        let kernel: Vec<usize> = self.windows.iter().map(|window| window.kernel).collect();
        let mut corners = Vec::new();
        for item in 0..self.x_shape[0] {
            let mut pixel = vec![0; self.outs.len()];
            for flat in 0..out_len {
                let mut tap = vec![0; kernel.len()];
                for tap_flat in 0..self.n_taps {
                    for group in 0..self.offset_groups {
                        let slot = (item * self.offset_groups + group) * self.n_taps + tap_flat;
                        self.corners(&pixel, &tap, slot, flat, out_len, &mut corners);
                        let factor = self.mask.as_ref().map_or(1.0, |mask| mask[slot * out_len + flat]);
                        let per_group = c_in / self.offset_groups;
                        for channel in group * per_group..(group + 1) * per_group {
                            let value = factor * self.value(item * c_in + channel, &corners);
                            let (conv_group, i) = (channel / c_in_group, channel % c_in_group);
                            for o in 0..c_out / groups {
                                let o = conv_group * (c_out / groups) + o;
                                let at = (o * c_in_group + i) * self.n_taps + tap_flat;
                                out[(item * c_out + o) * out_len + flat] += value * weight[at];
                            }
                        }
                    }
                    advance(&mut tap, &kernel);
                }
                advance(&mut pixel, self.outs);
            }
        }
    }

    /// Positions within a channel and weights of the pixels around a tap: those inside the input.
    fn corners(
        &self,
        pixel: &[usize],
        tap: &[usize],
        slot: usize,
        flat: usize,
        out_len: usize,
        corners: &mut Vec<(usize, f64)>,
    ) {
        corners.clear();
        corners.push((0, 1.0));
        let rank = self.windows.len();
        let steps = strides(&self.x_shape[2..]);
        for (axis, window) in self.windows.iter().enumerate() {
            let moved = self.offset[(slot * rank + axis) * out_len + flat];
            let fixed = (pixel[axis] * window.stride + tap[axis] * window.dilation) as f64 - window.pad_begin as f64;
            let (position, length) = (fixed + moved, self.x_shape[2 + axis]);
            let low = position.floor();
            let both = [(low, 1.0 - (position - low)), (low + 1.0, position - low)];
            let inside = both.map(|(at, weight)| {
                let is_inside = at >= 0.0 && at < length as f64 && weight != 0.0;
                if is_inside { (at as usize * steps[axis], weight) } else { (0, 0.0) }
            });
            let before = std::mem::take(corners);
            corners.extend(before.iter().flat_map(|&(at, weight)| {
                inside.iter().filter(|(_, own)| *own != 0.0).map(move |&(step, own)| (at + step, weight * own))
            }));
        }
    }

    fn value(&self, channel: usize, corners: &[(usize, f64)]) -> f64 {
        let image_len: usize = self.x_shape[2..].iter().product();
        corners.iter().map(|&(at, weight)| self.x[channel * image_len + at] * weight).sum()
    }
}
