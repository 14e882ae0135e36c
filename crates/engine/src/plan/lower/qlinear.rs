//! The integer operators that carry their scales themselves, and products whose left side is quantized while running.

use std::sync::Arc;

use lissom_graph::ValueId;
use lissom_kernels::conv::{Images, Window};
use lissom_kernels::quantize::Bytes;
use lissom_tensor::Tensor;

use super::epilogue::Channels;
use super::quantized::bytes;
use super::{Builder, Layout};
use crate::EngineError;
use crate::plan::quantized::limits;
use crate::plan::step::{Elem, Finish, Grid, Kind, StepInfo};
use crate::plan::weights::PackKey;
use crate::product::{Choice, IntegerLayer, IntegerProduct, Order, Traits, Zeros, alike, point, rows};

impl Builder<'_, '_> {
    /// `QLinearConv`.
    pub fn qlinear_conv(
        &mut self,
        index: usize,
        window: Window,
        groups: usize,
        [from, to]: [Grid; 2],
    ) -> Result<bool, EngineError> {
        let (Some(x), Some(weight), Some(out)) = (self.input(index, 0), self.input(index, 3), self.output(index))
        else {
            return Ok(false);
        };
        let Some((conv, images)) = self.convolution([x, weight, out], window, groups)? else { return Ok(false) };
        let Some((scales, zero_points)) = self.weight_grid(index, [4, 5], conv.c_out) else { return Ok(false) };
        let bias = self.input(index, 8).map(|id| self.network.ints(id).filter(|bias| bias.len() == conv.c_out));
        if matches!(bias, Some(None)) {
            return Ok(false);
        }
        let Some(codes) = self.codes_of(weight) else { return Ok(false) };
        let Some(values) = bytes(&codes) else { return Ok(false) };
        let layer = IntegerLayer { shape: conv, order: Order::Filters, weight: values, zero_points: &zero_points };
        let (packed, made) = self.packed_codes(index, self.stable(weight), &layer, images)?;
        let finish = codes_finish(&scales, bias.flatten(), from, to);
        let source = self.source(x, Layout::Last)?;
        let info = made.info(self, index, &[]);
        let kind = Kind::QProduct { packed, images, grid: from, finish: Box::new(finish) };
        let made = self.emit(info, kind, vec![source], self.shape(out)?.iter().product(), to.elem);
        self.set(out, Layout::Last, made);
        Ok(true)
    }

    /// `QLinearMatMul`.
    pub fn qlinear_matmul(&mut self, index: usize, [from, to]: [Grid; 2]) -> Result<bool, EngineError> {
        let (Some(x), Some(weight), Some(out)) = (self.input(index, 0), self.input(index, 3), self.output(index))
        else {
            return Ok(false);
        };
        let Some([m, k, n]) = self.product_size(x, weight, out)? else { return Ok(false) };
        let Some((scales, zero_points)) = self.weight_grid(index, [4, 5], n) else { return Ok(false) };
        let Some(codes) = self.codes_of(weight) else { return Ok(false) };
        let Some(values) = bytes(&codes) else { return Ok(false) };
        let layer =
            IntegerLayer { shape: point(k, n), order: Order::Columns, weight: values, zero_points: &zero_points };
        let (packed, made) = self.packed_codes(index, self.stable(weight), &layer, rows(m))?;
        let finish = codes_finish(&scales, None, from, to);
        let source = self.source(x, Layout::Plain)?;
        let info = made.info(self, index, &[]);
        let kind = Kind::QProduct { packed, images: rows(m), grid: from, finish: Box::new(finish) };
        let made = self.emit(info, kind, vec![source], m * n, to.elem);
        self.set(out, Layout::Plain, made);
        Ok(true)
    }

    /// A product with a left side that is quantized while running.
    pub fn dynamic_linear(&mut self, index: usize, is_transposed: bool) -> Result<bool, EngineError> {
        let (Some(x), Some(weight), Some(out)) = (self.input(index, 0), self.input(index, 1), self.output(index))
        else {
            return Ok(false);
        };
        let (shape, len) = (self.shape(weight)?, self.shape(out)?.iter().product::<usize>());
        let [k, n] = match shape[..] {
            [n, k] if is_transposed => [k, n],
            [k, n] => [k, n],
            _ => return Ok(false),
        };
        if self.shape(x)?.last() != Some(&k) || n == 0 || !len.is_multiple_of(n) {
            return Ok(false);
        }
        let m = len / n;
        let Some((scales, zero_points)) = self.dynamic_grid(index, weight, n) else { return Ok(false) };
        let own_bias = match self.input(index, 4).map(|id| self.network.floats(id)) {
            None => None,
            Some(Some(bias)) if bias.len() == n => Some(bias),
            Some(Some(bias)) if bias.len() == 1 => Some(vec![bias[0]; n]),
            _ => return Ok(false),
        };
        let Some(codes) = self.codes_of(weight) else { return Ok(false) };
        let Some(values) = bytes(&codes) else { return Ok(false) };
        let order = if is_transposed { Order::Filters } else { Order::Columns };
        let layer = IntegerLayer { shape: point(k, n), order, weight: values, zero_points: &zero_points };
        self.dynamic(index, x, (scales, own_bias), &layer, rows(m), Channels::Final)
    }

    /// A convolution of images that are quantized while running.
    pub fn dynamic_conv(&mut self, index: usize, window: Window, groups: usize) -> Result<bool, EngineError> {
        let (Some(x), Some(weight), Some(out)) = (self.input(index, 0), self.input(index, 1), self.output(index))
        else {
            return Ok(false);
        };
        let Some((conv, images)) = self.convolution([x, weight, out], window, groups)? else { return Ok(false) };
        let Some((scales, zero_points)) = self.weight_grid(index, [2, 3], conv.c_out) else { return Ok(false) };
        let Some(codes) = self.codes_of(weight) else { return Ok(false) };
        let Some(values) = bytes(&codes) else { return Ok(false) };
        let layer = IntegerLayer { shape: conv, order: Order::Filters, weight: values, zero_points: &zero_points };
        self.dynamic(index, x, (scales, None), &layer, images, Channels::Second)
    }

    /// Adds the step of a product whose left side is quantized while running, and what follows it.
    fn dynamic(
        &mut self,
        index: usize,
        x: ValueId,
        (scales, bias): (Vec<f32>, Option<Vec<f32>>),
        layer: &IntegerLayer<'_>,
        images: Images,
        channels: Channels,
    ) -> Result<bool, EngineError> {
        let Some(out) = self.output(index) else { return Ok(false) };
        let (packed, made) =
            self.packed_codes(index, self.input(index, 1).and_then(|id| self.stable(id)), layer, images)?;
        let n = layer.shape.c_out;
        let (bias, chain) = self.with_shifts(bias, self.chain(out, n, channels, true), out, n, channels);
        let layout = if channels == Channels::Second { Layout::Last } else { Layout::Plain };
        let mut inputs = vec![self.source(x, layout)?];
        if let Some(residual) = chain.residual {
            inputs.push(self.source(residual, layout)?);
        }
        let len = self.shape(out)?.iter().product();
        let info = made.info(self, index, &chain.works);
        let kind = Kind::DynamicProduct { packed, images, scales, bias, activation: chain.activation };
        let made = self.emit(info, kind, inputs, len, Elem::F32);
        self.end(&chain, layout, made);
        Ok(true)
    }

    /// Scales and zero points of the weight, one a column: its own, or the constants beside its codes.
    fn dynamic_grid(&self, index: usize, weight: ValueId, n: usize) -> Option<(Vec<f32>, Vec<i32>)> {
        let Some(affine) = self.network.affine(weight) else {
            return self.weight_grid(index, [2, 3], n);
        };
        let scales = affine.scale.to_f32_vec().ok()?;
        let zero_points = match &affine.zero_point {
            Some(zero) => zero.to_i64_vec().ok()?.into_iter().map(|zero| zero as i32).collect(),
            None => Vec::new(),
        };
        let scales = if scales.len() == 1 { vec![scales[0]; n] } else { scales };
        let is_fit = [0, 1, n].contains(&zero_points.len()) && scales.iter().all(|scale| scale.is_finite());
        (is_fit && scales.len() == n).then_some((scales, zero_points))
    }

    /// `[m, k, n]` of `x · weight`.
    fn product_size(&self, x: ValueId, weight: ValueId, out: ValueId) -> Result<Option<[usize; 3]>, EngineError> {
        let (shape, len) = (self.shape(x)?, self.shape(out)?.iter().product::<usize>());
        Ok(match self.shape(weight)?[..] {
            [k, n] if shape.last() == Some(&k) && n > 0 && len.is_multiple_of(n) => Some([len / n, k, n]),
            _ => None,
        })
    }

    /// Scales and zero points of a weight, one a column, from two inputs of the work.
    fn weight_grid(&self, index: usize, [scale, zero]: [usize; 2], n: usize) -> Option<(Vec<f32>, Vec<i32>)> {
        let scales = self.network.floats(self.input(index, scale)?)?;
        let zero_points = match self.input(index, zero) {
            Some(id) => self.network.ints(id)?,
            None => Vec::new(),
        };
        let is_fit = [0, 1, n].contains(&zero_points.len()) && scales.iter().all(|scale| scale.is_finite());
        let scales = match scales[..] {
            [one] => vec![one; n],
            _ => scales,
        };
        (is_fit && scales.len() == n).then_some((scales, zero_points))
    }

    /// The codes of an integer weight.
    fn codes_of(&self, weight: ValueId) -> Option<Tensor> {
        match self.network.affine(weight) {
            Some(affine) => Some(affine.codes.clone()),
            None => self.network.constant(weight),
        }
    }

    /// The weight, if it is the same in every plan.
    fn stable(&self, weight: ValueId) -> Option<ValueId> {
        self.network.is_weight(weight).then_some(weight)
    }

    /// Counts the codes that mean zero; `codes` are those of `layer`.
    fn zero_codes<T: Copy + Into<i32>>(&self, id: ValueId, layer: &IntegerLayer<'_>, codes: &[T]) -> Zeros {
        let IntegerLayer { shape, order, zero_points, .. } = *layer;
        let first = zero_points.first().copied().unwrap_or(0);
        let cache = self.network.cache;
        if zero_points.iter().all(|&zero| zero == first) {
            return cache
                .zeros(id, shape, order, || Zeros::count(&shape, order, codes, |code, _| code.into() == first));
        }
        cache.zeros(id, shape, order, || {
            Zeros::count(&shape, order, codes, |code, channel| zero_points.get(channel) == Some(&code.into()))
        })
    }

    /// The packed form of integer weights; `weight` is what it is remembered by.
    pub(super) fn packed_codes(
        &self,
        index: usize,
        weight: Option<ValueId>,
        layer: &IntegerLayer<'_>,
        images: Images,
    ) -> Result<(Arc<Box<dyn IntegerProduct>>, Made), EngineError> {
        let network = self.network;
        let IntegerLayer { shape, order, weight: values, .. } = *layer;
        let zeros = match (weight, values) {
            (Some(id), Bytes::U8(x)) if shape.groups == 1 => self.zero_codes(id, layer, x),
            (Some(id), Bytes::I8(x)) if shape.groups == 1 => self.zero_codes(id, layer, x),
            _ => Zeros::NONE,
        };
        let traits = Traits { shape, images: alike(images), zeros, is_integer: true, may_round: false };
        let folded = vec![network.works[index].node];
        let key = weight.map(|weight| PackKey { weight, bias: None, shape, order, factors: [0; 2], folded, form: "" });
        let packed = network.cache.integer(key, &traits, layer, self.threads);
        let (packed, choice) = packed.map_err(|source| self.kernel_error(index, source))?;
        let kernel = packed.kernel_name();
        Ok((packed, Made { traits, kernel, choice }))
    }
}

/// How an integer product was packed.
pub(super) struct Made {
    traits: Traits,
    kernel: &'static str,
    choice: Choice,
}

impl Made {
    pub fn info(&self, builder: &Builder<'_, '_>, index: usize, works: &[usize]) -> StepInfo {
        builder.product_info(index, works, &self.traits, self.kernel, &self.choice)
    }
}

fn codes_finish(scales: &[f32], bias: Option<Vec<i32>>, from: Grid, to: Grid) -> Finish {
    let multipliers = scales.iter().map(|scale| scale * from.scale / to.scale).collect();
    Finish::Codes { multipliers, bias, residual: None, grid: to, clamp: limits(to.elem) }
}
