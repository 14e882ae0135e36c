//! `ConvTranspose`: the transpose of a grouped convolution, plain form.
//!
//! <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, NodeReader, Op, OpError, OpSpec, Sample, Vjp, WeightAxes};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, rank, x};
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::ramp;
use crate::window::{AutoPad, AxisWindow, Window, for_each_view};

pub(crate) const OP: OpSpec = OpSpec {
    name: "ConvTranspose",
    domain: "",
    since: 1,
    read: |node| {
        let groups = usize::try_from(node.int_or("group", 1)?).ok().filter(|&groups| groups > 0);
        Ok(Arc::new(ConvTranspose {
            window: Window::read(node)?,
            groups: groups.ok_or_else(|| OpError::attribute("group", "must be positive"))?,
            output_padding: lengths(node, "output_padding")?,
            output_shape: lengths(node, "output_shape")?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[1, 2, 3, 3]), ramp(&[2, 3, 2, 2]), ramp(&[3])]).with("strides", vec![2i64, 2]),
            Sample::new([ramp(&[2, 4, 3, 4]), ramp(&[4, 1, 3, 3])])
                .with("group", 2i64)
                .with("pads", vec![1i64, 1, 1, 1])
                .with("strides", vec![2i64, 3])
                .with("output_padding", vec![1i64, 0]),
            Sample::new([ramp(&[1, 1, 4]), ramp(&[1, 2, 3])])
                .with("auto_pad", "SAME_LOWER")
                .with("strides", vec![2i64])
                .with("dilations", vec![2i64]),
            Sample::new([ramp(&[1, 1, 3, 3]), ramp(&[1, 2, 3, 3])])
                .with("output_shape", vec![8i64, 7])
                .with("strides", vec![3i64, 2]),
        ]
    },
};

fn lengths(node: &NodeReader<'_>, name: &'static str) -> Result<Vec<usize>, OpError> {
    let valid = |n: i64| usize::try_from(n).map_err(|_| OpError::attribute(name, format!("{n} is not a length")));
    node.ints(name)?.unwrap_or_default().into_iter().map(valid).collect()
}

/// `ConvTranspose`: input `[n, c_in, spatial…]`, weight `[c_in, c_out / groups, kernel…]`, bias `[c_out]`.
#[derive(Debug, Clone)]
pub struct ConvTranspose {
    /// Kernel, stride, dilation, padding (which crops the output).
    pub window: Window,
    /// Channels are split into this many groups that do not see each other.
    pub groups: usize,
    /// Added to the end of each spatial axis of the output; empty means none.
    pub output_padding: Vec<usize>,
    /// Spatial lengths of the output; empty if they follow from the rest.
    pub output_shape: Vec<usize>,
}

impl Op for ConvTranspose {
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
        self.check_rank(kernel.len())?;
        let mut shape = vec![x[0].clone(), weight[1].mul(&self.groups.into())];
        for (axis, length) in x[2..].iter().enumerate() {
            shape.push(match length.known() {
                Some(length) => self.resolve_axis(axis, length, kernel[axis])?.0.into(),
                None => self.symbolic_out(axis, length, kernel[axis])?,
            });
        }
        Ok(vec![Fact::maybe(dtype, Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, weight) = (inputs.required(0)?, inputs.required(1)?);
        let (xs, ws) = (x.shape(), weight.shape());
        if xs.len() < 3 || ws.len() != xs.len() || ws[0] != xs[1] || ws[0] % self.groups != 0 {
            return Err(OpError::shape(1, ws, format!("does not fit an input {xs:?} in {} groups", self.groups)));
        }
        self.check_rank(xs.len() - 2)?;
        let resolved = (2..xs.len()).map(|axis| self.resolve_axis(axis - 2, xs[axis], ws[axis]));
        let (spatial, windows): (Vec<usize>, Vec<AxisWindow>) =
            resolved.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let c_out = ws[1].checked_mul(self.groups).ok_or_else(|| OpError::shape(1, ws, "too many channels"))?;
        let shape: Vec<usize> = [xs[0], c_out].into_iter().chain(spatial.iter().copied()).collect();
        let mut out = vec![0.0; checked_len(DType::F64, &shape)?];
        if let Some(bias) = inputs.optional(2) {
            expect_shape(2, bias, &[c_out])?;
            let bias = floats(2, bias)?;
            let channel_len = out.len().checked_div(xs[0] * c_out).unwrap_or(0).max(1);
            out.iter_mut().enumerate().for_each(|(i, out)| *out = bias[i / channel_len % c_out]);
        }
        let (x_values, weights) = (floats(0, x)?, floats(1, weight)?);
        if !out.is_empty() && !x_values.is_empty() && !weights.is_empty() {
            scatter(&x_values, &weights, xs, ws[1], self.groups, &windows, &spatial, &mut out);
        }
        Ok(vec![from_f64(x.dtype(), shape, out)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let pads = self.resolved_pads(&vjp.facts).ok_or(NoGradient)?;
        let rank = rank(vjp, 0)?;
        of_output(vjp, |vjp, dy| {
            // The convolution whose transpose this is, from the output to the input.
            let window = Window { pads, auto_pad: AutoPad::NotSet, ..self.window.clone() };
            let attributes = window.attributes().with("group", self.groups as i64);
            let (data, weight) = (x(vjp, 0)?, x(vjp, 1)?);
            let convolved = vec![Some(dy.clone()), Some(weight.clone())];
            let to_x = Expr::outputs("Conv", convolved, attributes.clone(), 1).into_iter().next();
            let inputs = vec![Some(data), Some(dy.clone()), Some(weight)];
            let to_weight = Expr::microsoft_outputs("ConvGrad", inputs, attributes, 3).into_iter().nth(1);
            let axes: Vec<i64> = (0..rank as i64).filter(|&axis| axis != 1).collect();
            Ok(vec![to_x, to_weight, Some(dy.sum(axes, false))])
        })
    }

    fn weight_axes(&self, _inputs: &Facts<'_>) -> Option<WeightAxes> {
        Some(WeightAxes { weight_input: 1, bias_input: Some(2), c_out: 1, c_in: 0, groups: self.groups })
    }

    fn macs(&self, inputs: &[Option<Vec<usize>>], _outputs: &[Vec<usize>]) -> u64 {
        let (Some(Some(x)), Some(Some(weight))) = (inputs.first(), inputs.get(1)) else { return 0 };
        x.iter().chain(weight.iter().skip(1)).fold(1, |macs, &length| macs.saturating_mul(length as u64))
    }
}

/// `out[n, o, p·stride + k·dilation − pad] += x[n, i, p] · weight[i, o, k]`: `windows` are those of the convolution
/// whose transpose this is, over the output.
#[allow(clippy::too_many_arguments)] // the numbers of one loop nest
fn scatter(
    x: &[f64],
    weight: &[f64],
    x_shape: &[usize],
    c_out_group: usize,
    groups: usize,
    windows: &[AxisWindow],
    spatial: &[usize],
    out: &mut [f64],
) {
    let (batch, c_in) = (x_shape[0], x_shape[1]);
    let c_in_group = c_in / groups;
    let x_len: usize = x_shape[2..].iter().product();
    let out_len: usize = spatial.iter().product();
    let kernel_len: usize = windows.iter().map(|window| window.kernel).product();
    for_each_view(windows, spatial, |view| {
        for n in 0..batch {
            for i in 0..c_in {
                let value = x[(n * c_in + i) * x_len + view.pixel];
                for o in 0..c_out_group {
                    let channel = (n * groups + i / c_in_group) * c_out_group + o;
                    let image = &mut out[channel * out_len..][..out_len];
                    let kernel = &weight[(i * c_out_group + o) * kernel_len..][..kernel_len];
                    view.taps.iter().for_each(|&(tap, at)| image[at] += value * kernel[tap]);
                }
            }
        }
    });
}

impl ConvTranspose {
    fn check_rank(&self, rank: usize) -> Result<(), OpError> {
        let counts = [
            ("strides", self.window.strides.len(), rank),
            ("dilations", self.window.dilations.len(), rank),
            ("pads", self.window.pads.len(), 2 * rank),
            ("output_padding", self.output_padding.len(), rank),
            ("output_shape", self.output_shape.len(), rank),
        ];
        for (name, actual, expected) in counts {
            if actual != 0 && actual != expected {
                return Err(OpError::attribute(name, format!("has {actual} entries, expected {expected}")));
            }
        }
        Ok(())
    }

    /// The pads, as far as they do not depend on lengths that are not known.
    fn resolved_pads(&self, facts: &Facts<'_>) -> Option<Vec<i64>> {
        if self.window.auto_pad == AutoPad::NotSet && self.output_shape.is_empty() {
            return Some(self.window.pads.clone());
        }
        let (data, weight) = (facts.shape(0)?.get(2..)?, facts.shape(1)?.get(2..)?);
        let windows = data.iter().zip(weight).enumerate().map(|(axis, (length, kernel))| {
            let (_, window) = self.resolve_axis(axis, length.known()?, kernel.known()?).ok()?;
            Some((window.pad_begin, window.pad_end))
        });
        let (mut pads, ends): (Vec<i64>, Vec<i64>) = windows.collect::<Option<Vec<_>>>()?.into_iter().unzip();
        pads.extend(ends);
        Some(pads)
    }

    /// Length of the output along an axis, and the window of the convolution whose transpose this is.
    fn resolve_axis(&self, axis: usize, length: usize, kernel: usize) -> Result<(usize, AxisWindow), OpError> {
        let step = |values: &[usize], default| values.get(axis).copied().unwrap_or(default);
        let (stride, dilation) = (step(&self.window.strides, 1), step(&self.window.dilations, 1));
        let full = self.full_length(axis, length as i64, kernel);
        let full = full.ok_or_else(|| OpError::attribute("strides", "the output is too large"))?;
        let wanted = self.wanted_length(axis, length, stride)?;
        let rank = self.window.pads.len() / 2;
        let pads = match wanted {
            Some(wanted) => {
                // A longer output than the input reaches is filled up with zeros.
                let total = full.saturating_sub(wanted).max(0);
                let (small, large) = (total / 2, total - total / 2);
                if self.window.auto_pad == AutoPad::SameUpper { (small, large) } else { (large, small) }
            }
            None if rank > 0 && self.window.auto_pad == AutoPad::NotSet => {
                (self.window.pads[axis], self.window.pads[axis + rank])
            }
            None => (0, 0),
        };
        let out = match wanted {
            Some(wanted) => Some(wanted),
            None => full.checked_sub(pads.0).and_then(|out| out.checked_sub(pads.1)),
        };
        let out = out.and_then(|out| usize::try_from(out).ok());
        let out = out.ok_or_else(|| OpError::attribute("pads", format!("more than the {full} elements there are")))?;
        let window = AxisWindow { kernel, stride, dilation, pad_begin: pads.0, pad_end: pads.1, out: length };
        Ok((out, window))
    }

    /// `stride · (length − 1) + output_padding + (kernel − 1) · dilation + 1`.
    fn full_length(&self, axis: usize, length: i64, kernel: usize) -> Option<i64> {
        let step = |values: &[usize], default| values.get(axis).copied().unwrap_or(default) as i64;
        let reach = (kernel as i64 - 1).checked_mul(step(&self.window.dilations, 1))?.checked_add(1)?;
        let span = step(&self.window.strides, 1).checked_mul(length - 1)?;
        span.checked_add(reach)?.checked_add(step(&self.output_padding, 0))
    }

    /// The length of the output where it is given rather than computed.
    fn wanted_length(&self, axis: usize, length: usize, stride: usize) -> Result<Option<i64>, OpError> {
        let too_large = || OpError::attribute("output_shape", "the output is too large");
        if !self.output_shape.is_empty() {
            let wanted = self.output_shape.get(axis).copied().unwrap_or(0);
            return Ok(Some(i64::try_from(wanted).map_err(|_| too_large())?));
        }
        if matches!(self.window.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
            let wanted = length.checked_mul(stride).and_then(|wanted| i64::try_from(wanted).ok());
            return Ok(Some(wanted.ok_or_else(too_large)?));
        }
        Ok(None)
    }

    fn symbolic_out(&self, axis: usize, length: &Dim, kernel: usize) -> Result<Dim, OpError> {
        let stride = self.window.strides.get(axis).copied().unwrap_or(1);
        if let (Some(wanted), false) = (self.wanted_length(axis, 1, stride)?, self.output_shape.is_empty()) {
            return Ok(Dim::Known(wanted));
        }
        if matches!(self.window.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
            return Ok(length.mul(&stride.into()));
        }
        // The length at one element, less one stride.
        let (one, _) = match self.resolve_axis(axis, 1, kernel) {
            Ok(resolved) => resolved,
            Err(_) => return Ok(Dim::symbol(format!("transposed({length})"))),
        };
        Ok(length.mul(&stride.into()).add(&Dim::Known((one as i64).saturating_sub(stride as i64))))
    }
}
