//! Reads a node's attributes and constant inputs.

mod movement;
mod quantized;

use lissom_graph::{Attribute, Node, ValueId};
use lissom_kernels::conv::{ConvShape, Window};
use lissom_kernels::elementwise::{Binary, Unary};
use lissom_kernels::pool::Pool;
use lissom_kernels::rows::Reduction;
use lissom_ops::AutoPad;
use lissom_tensor::{DType, checked_len};

use super::training;
use super::work::{Network, Op};

/// One node with the constants around it.
pub(super) struct NodeForm<'n, 'a> {
    pub network: &'n Network<'a>,
    pub node: &'n Node,
    pub inputs: &'n [Option<ValueId>],
}

impl NodeForm<'_, '_> {
    pub fn int(&self, name: &str, default: i64) -> Option<i64> {
        match self.node.attributes.get(name) {
            None => Some(default),
            Some(Attribute::Int(value)) => Some(*value),
            Some(_) => None,
        }
    }

    pub fn float(&self, name: &str, default: f32) -> Option<f32> {
        match self.node.attributes.get(name) {
            None => Some(default),
            Some(Attribute::Float(value)) => Some(*value),
            Some(_) => None,
        }
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        match self.node.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values.clone()),
            _ => None,
        }
    }

    fn is_set(&self, name: &str) -> bool {
        self.node.attributes.get(name).is_some()
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.node.attributes.get(name) {
            Some(Attribute::Str(value)) => Some(value),
            _ => None,
        }
    }

    fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The integers of a constant input.
    fn input_ints(&self, index: usize) -> Option<Vec<i64>> {
        self.network.constant(self.input(index)?)?.to_i64_vec().ok()
    }

    fn shape(&self, index: usize) -> Option<Vec<usize>> {
        self.network.shape(self.input(index)?)
    }

    fn output_shape(&self) -> Option<Vec<usize>> {
        self.network.shape(self.node.outputs.first().copied().flatten()?)
    }

    fn axis(&self, axis: i64, rank: usize) -> Option<usize> {
        usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|&axis| axis < rank)
    }

    fn axes(&self, axes: &[i64], rank: usize) -> Option<Vec<usize>> {
        let mut axes: Vec<usize> = axes.iter().map(|&axis| self.axis(axis, rank)).collect::<Option<_>>()?;
        axes.sort_unstable();
        axes.dedup();
        Some(axes)
    }

    /// What the node is; `None` if the engine knows no kernel for this form of it.
    pub fn read(&self) -> Option<Op> {
        let outputs_known = self.node.outputs.iter().flatten().all(|id| self.network.shape(*id).is_some());
        let x = self.input(0)?;
        if !outputs_known || self.network.shape(x).is_none() {
            return Some(Op::Other("a shape that depends on data"));
        }
        if !self.fits_memory() {
            return Some(Op::Other("a tensor beyond the memory limit"));
        }
        if self.output_shape().is_some_and(|shape| shape.contains(&0)) {
            return Some(Op::Other("an empty result"));
        }
        let inference = if self.node.domain.is_empty() { self.inference(x) } else { None };
        inference.or_else(|| training::find(self.node).map(Op::Training))
    }

    /// What an operator of ONNX's own domain is, with constant weights.
    fn inference(&self, x: ValueId) -> Option<Op> {
        match self.node.op_type.as_str() {
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => return self.movable(x).then_some(Op::View),
            "Transpose" => return if self.movable(x) { self.transpose() } else { None },
            "Concat" => return self.concat(),
            "QuantizeLinear" => return self.quantize(),
            "DequantizeLinear" => return self.dequantize(),
            "Gather" if self.network.is_f32(x) => return self.gather(),
            "QLinearConv" => return self.qlinear_conv(),
            "ConvInteger" => return self.conv_integer(),
            "QLinearMatMul" => return self.qlinear_matmul(),
            _ => {}
        }
        if !self.network.is_f32(x) {
            return Some(Op::Other("an element type without kernels"));
        }
        self.unary().or_else(|| self.structured())
    }

    /// Products of lengths are taken without checks from here on, so all of them must be sizes of real tensors.
    fn fits_memory(&self) -> bool {
        let values = self.inputs.iter().flatten().chain(self.node.outputs.iter().flatten());
        let shapes = values.filter_map(|&id| Some((self.network.dtype(id)?, self.network.shape(id)?)));
        shapes.into_iter().all(|(dtype, shape)| checked_len(dtype, &shape).is_ok())
    }

    fn movable(&self, id: ValueId) -> bool {
        matches!(self.network.dtype(id), Some(DType::F32 | DType::U8 | DType::I8))
    }

    fn unary(&self) -> Option<Op> {
        let unary = match self.node.op_type.as_str() {
            "Relu" => Unary::Relu,
            "Sigmoid" => Unary::Sigmoid,
            "Tanh" => Unary::Tanh,
            "Exp" => Unary::Exp,
            "Sqrt" => Unary::Sqrt,
            "Erf" => Unary::Erf,
            "Neg" => Unary::Neg,
            "Abs" => Unary::Abs,
            "Reciprocal" => Unary::Reciprocal,
            "HardSwish" => Unary::HardSwish,
            "LeakyRelu" => Unary::LeakyRelu { alpha: self.float("alpha", 0.01)? },
            "Elu" => Unary::Elu { alpha: self.float("alpha", 1.0)? },
            "HardSigmoid" => Unary::HardSigmoid { alpha: self.float("alpha", 0.2)?, beta: self.float("beta", 0.5)? },
            "Swish" if self.float("alpha", 1.0)? == 1.0 => Unary::Silu,
            "Gelu" if self.text("approximate") == Some("tanh") => Unary::GeluTanh,
            "Gelu" => Unary::Gelu,
            "Clip" => self.clip()?,
            "Pow" if self.network.scalar(self.input(1)?)? == 2.0 => {
                // A base of fewer axes than the exponent would grow.
                return (self.shape(0)? == self.output_shape()?).then_some(Op::Unary(Unary::Square));
            }
            _ => return None,
        };
        let since = if self.node.op_type == "Gelu" { 20 } else { 6 };
        (self.node.opset >= since).then_some(Op::Unary(unary))
    }

    fn clip(&self) -> Option<Unary> {
        let bound = |index: usize, name: &str, default: f32| {
            if self.node.opset < 11 {
                return self.float(name, default);
            }
            self.input(index).map_or(Some(default), |id| self.network.scalar(id))
        };
        let (min, max) = (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
        (min <= max).then_some(Unary::Clip { min, max })
    }

    fn structured(&self) -> Option<Op> {
        let is_single = self.node.outputs.len() == 1;
        match self.node.op_type.as_str() {
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" => self.binary(),
            "Conv" => self.conv(),
            "MatMul" => self.matmul(),
            "Gemm" => self.gemm(),
            "BatchNormalization" if is_single => self.batch_norm(),
            "LayerNormalization" if is_single => self.layer_norm(),
            "Softmax" => self.softmax(),
            "MaxPool" if is_single => self.pool(Pool::Max),
            "AveragePool" => {
                let with_pads = self.int("count_include_pad", 0)? != 0;
                self.pool(if with_pads { Pool::AverageWithPads } else { Pool::Average })
            }
            "GlobalAveragePool" => self.reduce_spatial(Reduction::Mean),
            "GlobalMaxPool" => self.reduce_spatial(Reduction::Max),
            "ReduceMean" => self.reduce(Reduction::Mean, 18),
            "ReduceSum" => self.reduce(Reduction::Sum, 13),
            "ReduceMax" => self.reduce(Reduction::Max, 18),
            "ReduceMin" => self.reduce(Reduction::Min, 18),
            "Slice" => self.slice(),
            "Split" => self.split(),
            "Pad" => self.pad(),
            "Expand" => Some(Op::Expand),
            _ => None,
        }
    }

    fn binary(&self) -> Option<Op> {
        let is_pair = self.inputs.len() == 2 && self.network.is_f32(self.input(1)?);
        let op = match self.node.op_type.as_str() {
            "Add" => Binary::Add,
            "Sub" => Binary::Sub,
            "Mul" => Binary::Mul,
            "Div" => Binary::Div,
            "Max" => Binary::Max,
            "Min" => Binary::Min,
            _ => return None,
        };
        (is_pair && self.node.opset >= 7).then_some(Op::Binary(op))
    }

    /// The window of the first input, over one or two spatial axes, the output being as large as inferred.
    fn window(&self, kernel: Vec<usize>) -> Option<Window> {
        self.window_over(&self.shape(0)?, kernel)
    }

    /// The sizes of a convolution of images `x` by `weight`, as the attributes have it.
    pub fn conv_shape(&self, x: ValueId, weight: ValueId) -> Option<ConvShape> {
        let (x, weight) = (self.network.shape(x)?, self.network.shape(weight)?);
        let groups = usize::try_from(self.int("group", 1)?).ok().filter(|&groups| groups > 0)?;
        let kernel = weight.get(2..)?.to_vec();
        let is_own =
            self.ints("kernel_shape").is_none_or(|own| own.iter().map(|&n| n as usize).eq(kernel.iter().copied()));
        let is_fit = is_own
            && matches!(kernel.len(), 1 | 2)
            && x.len() == weight.len()
            && weight[1].checked_mul(groups) == Some(x[1])
            && weight[0].is_multiple_of(groups)
            && !x.contains(&0)
            && !weight.contains(&0);
        let window = is_fit.then(|| self.window_over(&x, kernel))??;
        Some(ConvShape { window, c_in: x[1], c_out: weight[0], groups })
    }

    fn window_over(&self, shape: &[usize], kernel: Vec<usize>) -> Option<Window> {
        let lengths = |name: &str| -> Vec<usize> {
            self.ints(name).unwrap_or_default().into_iter().filter_map(|n| usize::try_from(n).ok()).collect()
        };
        let auto_pad = match self.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" | "" => AutoPad::NotSet,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            _ => return None,
        };
        let window = lissom_ops::Window {
            kernel: kernel.clone(),
            strides: lengths("strides"),
            dilations: lengths("dilations"),
            pads: self.ints("pads").unwrap_or_default(),
            auto_pad,
            ceil_mode: self.int("ceil_mode", 0)? != 0,
        };
        let axes = window.resolve(shape.get(2..)?, &kernel).ok()?;
        let mut window = Window::POINT;
        // One spatial axis is an image of height 1.
        let first = 2usize.checked_sub(axes.len())?;
        for (index, axis) in axes.iter().enumerate() {
            let at = first + index;
            window.kernel[at] = axis.kernel;
            window.stride[at] = axis.stride;
            window.dilation[at] = axis.dilation;
            window.pads[at] = usize::try_from(axis.pad_begin).ok()?;
            window.pads[at + 2] = usize::try_from(axis.pad_end).ok()?;
        }
        Some(window)
    }

    fn conv(&self) -> Option<Op> {
        let weight = self.input(1)?;
        let is_constant =
            self.network.is_constant(weight) && self.input(2).is_none_or(|bias| self.network.is_constant(bias));
        let shape = self.network.shape(weight)?;
        let groups = usize::try_from(self.int("group", 1)?).ok()?;
        let kernel = shape.get(2..)?.to_vec();
        if self.ints("kernel_shape").is_some_and(|own| own.iter().map(|&n| n as usize).ne(kernel.iter().copied())) {
            return None;
        }
        let is_fit = is_constant && matches!(kernel.len(), 1 | 2) && self.output_shape()?.iter().all(|&n| n > 0);
        if !is_fit || !self.network.is_f32(weight) {
            return None;
        }
        Some(Op::Conv { window: self.window(kernel)?, groups })
    }

    pub fn pool(&self, op: Pool) -> Option<Op> {
        let kernel: Vec<usize> = self.ints("kernel_shape")?.into_iter().map(|n| n as usize).collect();
        if !matches!(kernel.len(), 1 | 2) || self.output_shape()?.contains(&0) {
            return None;
        }
        let is_ceil = self.int("ceil_mode", 0)? != 0;
        let window = self.window(kernel)?;
        // The kernels must agree with what was inferred.
        let (shape, out) = (self.shape(0)?, self.output_shape()?);
        let size = |shape: &[usize]| if shape.len() == 3 { [1, shape[2]] } else { [shape[2], shape[3]] };
        let [h, w] = size(&shape);
        let expected = if is_ceil { window.output_size_ceil(h, w) } else { window.output_size(h, w) };
        (expected == Ok(size(&out))).then_some(Op::Pool { op, window, is_ceil })
    }

    fn reduce_spatial(&self, op: Reduction) -> Option<Op> {
        let rank = self.shape(0)?.len();
        (rank >= 3 && !self.shape(0)?.contains(&0)).then(|| Op::Reduce { op, axes: (2..rank).collect() })
    }

    fn reduce(&self, op: Reduction, axes_input_since: u32) -> Option<Op> {
        let shape = self.shape(0)?;
        let axes = match (self.node.opset >= axes_input_since, self.input(1)) {
            (true, Some(_)) => Some(self.input_ints(1)?),
            (true, None) => None,
            (false, _) => self.ints("axes"),
        };
        let axes = match axes {
            Some(axes) if !axes.is_empty() => self.axes(&axes, shape.len())?,
            _ if self.int("noop_with_empty_axes", 0)? != 0 => return None,
            _ => (0..shape.len()).collect(),
        };
        (!shape.contains(&0) && !axes.is_empty()).then_some(Op::Reduce { op, axes })
    }

    fn matmul(&self) -> Option<Op> {
        let (a, b) = (self.shape(0)?, self.input(1)?);
        let b_shape = self.network.shape(b)?;
        if !self.network.is_f32(b) || a.is_empty() || b_shape.len() < 2 || a.contains(&0) || b_shape.contains(&0) {
            return None;
        }
        if b_shape.len() == 2 && self.network.is_constant(b) {
            return Some(Op::Linear { is_transposed: false, alpha: 1.0, beta: 1.0 });
        }
        (a.len() >= 2).then_some(Op::MatMul)
    }

    fn gemm(&self) -> Option<Op> {
        let b = self.input(1)?;
        let out = self.output_shape()?;
        let is_fit = self.int("transA", 0)? == 0
            && self.node.opset >= 7
            && self.network.is_f32(b)
            && self.network.is_constant(b)
            && !out.contains(&0)
            && !self.shape(0)?.contains(&0);
        let bias_fits = self.input(2).is_none_or(|bias| {
            let shape = self.network.shape(bias).unwrap_or_default();
            let is_row = shape.iter().rev().skip(1).all(|&n| n == 1);
            let n = shape.last().copied().unwrap_or(1);
            self.network.is_constant(bias) && self.network.is_f32(bias) && is_row && (n == 1 || Some(&n) == out.last())
        });
        (is_fit && bias_fits).then_some(Op::Linear {
            is_transposed: self.int("transB", 0)? != 0,
            alpha: self.float("alpha", 1.0)?,
            beta: self.float("beta", 1.0)?,
        })
    }

    fn batch_norm(&self) -> Option<Op> {
        let is_inference = self.int("training_mode", 0)? == 0 && self.int("spatial", 1)? == 1 && self.node.opset >= 7;
        let channels = *self.shape(0)?.get(1)?;
        let all_constant = (1..5).all(|index| {
            self.input(index).is_some_and(|id| {
                self.network.is_f32(id)
                    && self.network.is_constant(id)
                    && self.network.shape(id) == Some(vec![channels])
            })
        });
        let is_fit = is_inference && all_constant && !self.shape(0)?.contains(&0);
        is_fit.then_some(Op::BatchNorm { epsilon: self.float("epsilon", 1e-5)? })
    }

    fn layer_norm(&self) -> Option<Op> {
        let shape = self.shape(0)?;
        let axis = self.axis(self.int("axis", -1)?, shape.len())?;
        let tail = shape.get(axis..)?;
        let all_constant = (1..3).all(|index| {
            self.input(index).is_none_or(|id| {
                self.network.is_f32(id)
                    && self.network.is_constant(id)
                    && self.network.shape(id).as_deref() == Some(tail)
            })
        });
        let is_fit = all_constant && self.int("stash_type", 1)? == 1 && !shape.contains(&0);
        is_fit.then_some(Op::LayerNorm { n: tail.iter().product(), epsilon: self.float("epsilon", 1e-5)? })
    }

    fn softmax(&self) -> Option<Op> {
        let shape = self.shape(0)?;
        if shape.contains(&0) || shape.is_empty() {
            return None;
        }
        let is_old = self.node.opset < 13;
        let axis = self.axis(self.int("axis", if is_old { 1 } else { -1 })?, shape.len())?;
        let n = shape.get(axis..)?.iter().product();
        if is_old || axis + 1 == shape.len() {
            return Some(Op::Softmax { n, is_channels: false });
        }
        (axis == 1 && shape.len() >= 3).then(|| Op::Softmax { n: shape[1], is_channels: true })
    }
}
