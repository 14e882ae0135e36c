//! `Conv`: grouped N-dimensional cross-correlation, plain form.
//!
//! <https://onnx.ai/onnx/operators/onnx__Conv.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample, Vjp, WeightAxes};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::Window;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, optional_x};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;
use crate::window::{AxisWindow, for_each_view};

pub(crate) const OP: OpSpec =
    OpSpec { name: "Conv", domain: "", since: 1, read: |node| Ok(Arc::new(Conv::read(node)?)), samples };

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
        let bias_values = bias.map(|bias| floats(2, bias)).transpose()?;
        let values = self.convolve(x, &floats(0, x)?, weight, &floats(1, weight)?, bias, bias_values.as_deref())?;
        Ok(vec![from_f64(x.dtype(), values.0, values.1)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let inputs = vec![Some(dy), optional_x(vjp, 0), optional_x(vjp, 1)];
            let attributes = self.window.attributes().with("group", self.groups as i64);
            Ok(Expr::microsoft_outputs("ConvGrad", inputs, attributes, 3).into_iter().map(Some).collect())
        })
    }

    fn weight_axes(&self, _inputs: &Facts<'_>) -> Option<WeightAxes> {
        Some(WeightAxes { weight_input: 1, bias_input: Some(2), c_out: 0, c_in: 1, groups: self.groups })
    }

    fn macs(&self, inputs: &[Option<Vec<usize>>], outputs: &[Vec<usize>]) -> u64 {
        let (Some(Some(weight)), Some(out)) = (inputs.get(1), outputs.first()) else { return 0 };
        weight.iter().skip(1).chain(out).fold(1, |macs, &length| macs.saturating_mul(length as u64))
    }
}

impl Conv {
    /// Reads the attributes.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`].
    pub(crate) fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let groups = usize::try_from(node.int_or("group", 1)?).ok().filter(|&groups| groups > 0);
        let groups = groups.ok_or_else(|| OpError::attribute("group", "must be positive"))?;
        Ok(Self { window: Window::read(node)?, groups })
    }

    /// Shape and values of the convolution of the given values, which need not be what the tensors hold: zero points
    /// may have been taken off.
    ///
    /// # Errors
    /// [`OpError::BadShape`] and others if the shapes do not fit.
    pub(crate) fn convolve(
        &self,
        x: &Tensor,
        x_values: &[f64],
        weight: &Tensor,
        weight_values: &[f64],
        bias: Option<&Tensor>,
        bias_values: Option<&[f64]>,
    ) -> Result<(Vec<usize>, Vec<f64>), OpError> {
        let geometry = self.geometry(x, weight, bias)?;
        let values = geometry.run(x_values, weight_values, bias_values)?;
        Ok((geometry.out_shape(), values))
    }

    pub(crate) fn geometry(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Geometry, OpError> {
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

/// All lengths of a convolution.
pub(crate) struct Geometry {
    pub batch: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub groups: usize,
    pub spatial: Vec<usize>,
    pub windows: Vec<AxisWindow>,
}

impl Geometry {
    pub fn out_shape(&self) -> Vec<usize> {
        let spatial = self.windows.iter().map(|window| window.out);
        [self.batch, self.c_out].into_iter().chain(spatial).collect()
    }

    /// `out[n, o, p] = bias[o] + Σ_{i, k} x[n, group(o) + i, p·stride + k·dilation − pad] · weight[o, i, k]`, in f64.
    fn run(&self, x: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Result<Vec<f64>, OpError> {
        let len = checked_len(DType::F64, &self.out_shape())?;
        let mut out = vec![0.0; len];
        if len == 0 {
            return Ok(out);
        }
        let (c_in_group, c_out_group) = (self.c_in / self.groups, self.c_out / self.groups);
        let image_len: usize = self.spatial.iter().product();
        let out_len: usize = self.windows.iter().map(|window| window.out).product();
        let kernel_len: usize = self.windows.iter().map(|window| window.kernel).product();
        for_each_view(&self.windows, &self.spatial, |view| {
            for n in 0..self.batch {
                for o in 0..self.c_out {
                    let first_channel = n * self.c_in + o / c_out_group * c_in_group;
                    let mut sum = bias.map_or(0.0, |bias| bias[o]);
                    for i in 0..c_in_group {
                        let image = &x[(first_channel + i) * image_len..][..image_len];
                        let kernel = &weight[(o * c_in_group + i) * kernel_len..][..kernel_len];
                        sum += view.taps.iter().map(|&(tap, at)| image[at] * kernel[tap]).sum::<f64>();
                    }
                    out[(n * self.c_out + o) * out_len + view.pixel] = sum;
                }
            }
        });
        Ok(out)
    }
}

fn samples() -> Vec<Sample> {
    vec![
        Sample::new([ramp(&[2, 3, 5, 4]), ramp(&[4, 3, 3, 3]), ramp(&[4])]).with("pads", vec![1i64, 1, 1, 1]),
        Sample::new([ramp(&[1, 4, 6, 6]), ramp(&[4, 1, 3, 3])]).with("group", 4i64).with("strides", vec![2i64, 2]),
        Sample::new([ramp(&[1, 2, 9]), ramp(&[3, 2, 2])]).with("dilations", vec![3i64]),
        Sample::new([ramp(&[1, 2, 5, 5]), ramp(&[2, 2, 3, 3])])
            .with("auto_pad", "SAME_UPPER")
            .with("strides", vec![2i64, 2]),
        Sample::new([ramp(&[1, 2, 3, 4, 3]), ramp(&[4, 1, 2, 2, 1]), ramp(&[4])])
            .with("group", 2i64)
            .with("strides", vec![1i64, 2, 2])
            .with("dilations", vec![1i64, 2, 1])
            .with("pads", vec![0i64, 1, 0, 1, 0, 0]),
    ]
}
