//! Convolutions and products with a constant matrix.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::sync::Arc;

use lissom_graph::ValueId;
use lissom_kernels::conv::{ConvShape, Images, Window};
use lissom_tensor::Tensor;

use super::epilogue::{Affine, Chain, Channels};
use super::{Builder, Layout};
use crate::EngineError;
use crate::plan::step::{Elem, Kind, StepInfo};
use crate::plan::weights::{PackKey, PackedFloat, fitting};
use crate::plan::work::Op;
use crate::product::{CHANNELS_FIRST, Choice, FORMS, Order, Traits, Zeros, alike, point, rows};

/// The images of a value of rank 3 or 4.
pub(in crate::plan) fn images(shape: &[usize]) -> Images {
    match shape[..] {
        [n, _, w] => Images { n, h: 1, w },
        [n, _, h, w] => Images { n, h, w },
        _ => Images { n: 0, h: 0, w: 0 },
    }
}

impl Builder<'_, '_> {
    /// The input of a convolution and its window, padding in front of it included.
    pub fn conv_input(&self, index: usize, mut window: Window) -> Option<(ValueId, Window)> {
        let x = self.input(index, 0)?;
        let Some((inner, pads)) = self.record(x).and_then(|record| record.padded) else {
            return Some((x, window));
        };
        window.pads.iter_mut().zip(pads).for_each(|(own, more)| *own += more);
        Some((inner, window))
    }

    /// The sizes of a convolution of `x` by `weight` into `out`; `None` if they do not fit.
    pub(super) fn convolution(
        &self,
        [x, weight, out]: [ValueId; 3],
        window: Window,
        groups: usize,
    ) -> Result<Option<(ConvShape, Images)>, EngineError> {
        let (shape, weight_shape, out_shape) = (self.shape(x)?, self.shape(weight)?, self.shape(out)?);
        let conv = ConvShape { window, c_in: shape[1], c_out: weight_shape[0], groups };
        let images = images(&shape);
        let is_fit = groups > 0 && weight_shape[1] * groups == conv.c_in && conv.c_out.is_multiple_of(groups);
        let expected = if out_shape.len() == 3 { [1, out_shape[2]] } else { [out_shape[2], out_shape[3]] };
        Ok((is_fit && window.output_size(images.h, images.w) == Ok(expected)).then_some((conv, images)))
    }

    /// True if a convolution of these images makes values of the shape of `out`.
    pub fn fits_output(&self, conv: &ConvShape, images: Images, out: ValueId) -> Result<bool, EngineError> {
        let shape = self.shape(out)?;
        let size = conv.window.output_size(images.h, images.w);
        Ok(match shape[..] {
            [n, c, w] => [n, c] == [images.n, conv.c_out] && size == Ok([1, w]),
            [n, c, h, w] => [n, c] == [images.n, conv.c_out] && size == Ok([h, w]),
            _ => false,
        })
    }

    pub fn conv(&mut self, index: usize, window: Window, groups: usize) -> Result<bool, EngineError> {
        let network = self.network;
        let (Some((x, window)), Some(weight), Some(out)) =
            (self.conv_input(index, window), self.input(index, 1), self.output(index))
        else {
            return Ok(false);
        };
        let Some((conv, images)) = self.convolution([x, weight, out], window, groups)? else { return Ok(false) };
        let out_shape = self.shape(out)?;
        if self.qconv(index, x, conv, images)? {
            return Ok(true);
        }
        let chain = self.chain(out, conv.c_out, Channels::Second, true);
        let bias = self.input(index, 2);
        let key = self.key(weight, bias, conv, Order::Filters, [1.0; 2], &chain);
        let affines = self.affines(&chain, out, conv.c_out, Channels::Second);
        let constant = LazyCell::new(|| network.constant(weight));
        let values = || {
            let mut values = borrowed(constant.as_ref());
            let mut shifts = bias.and_then(|bias| network.floats(bias));
            let row = (values.len() / conv.c_out.max(1)).max(1);
            for affine in &affines {
                for (filter, &scale) in values.to_mut().chunks_mut(row).zip(&affine.scale) {
                    filter.iter_mut().for_each(|w| *w *= scale);
                }
            }
            fold_bias(&mut shifts, &affines, conv.c_out);
            (values, shifts)
        };
        let traits = self.traits(weight, conv, images, Order::Filters);
        let packed = network.cache.float(key, &traits, Order::Filters, values, self.threads);
        let (packed, choice) = packed.map_err(|source| self.kernel_error(index, source))?;
        self.let_go(weight, &packed, &traits, affines.iter().all(Affine::is_shift));
        let (from, to) = match packed.product.takes_channels_first() {
            true => (self.layout(x), self.wanted_layout(&chain)),
            false => (Layout::Last, Layout::Last),
        };
        let mut inputs = vec![self.source(x, from)?];
        if let Some(residual) = chain.residual {
            inputs.push(self.source(residual, to)?);
        }
        let info = self.product_info(index, &chain.works, &traits, packed.product.kernel_name(), &choice);
        let (from, channels) = (from.channels(), to.channels());
        let kind = Kind::Product { packed, images, from, to: channels, activation: chain.activation };
        let made = self.emit(info, kind, inputs, out_shape.iter().product(), Elem::F32);
        self.end(&chain, to, made);
        Ok(true)
    }

    pub fn linear(&mut self, index: usize, is_transposed: bool, alpha: f32, beta: f32) -> Result<bool, EngineError> {
        let network = self.network;
        let (Some(x), Some(weight), Some(out)) = (self.input(index, 0), self.input(index, 1), self.output(index))
        else {
            return Ok(false);
        };
        let (shape, weight_shape, out_shape) = (self.shape(x)?, self.shape(weight)?, self.shape(out)?);
        let [k, n] = match weight_shape[..] {
            [n, k] if is_transposed => [k, n],
            [k, n] => [k, n],
            _ => return Ok(false),
        };
        let len: usize = out_shape.iter().product();
        if shape.last() != Some(&k) || n == 0 || !len.is_multiple_of(n) {
            return Ok(false);
        }
        let m = len / n;
        let is_plain = alpha == 1.0 && beta == 1.0;
        if is_plain && self.qlinear(index, x, [m, k, n], is_transposed)? {
            return Ok(true);
        }
        if is_plain && self.few_rows(index, x, [m, k, n], is_transposed)? {
            return Ok(true);
        }
        // A vector on the left has no axis for rows: what is added may have.
        let chain = self.chain(out, n, Channels::Final, true);
        let bias = self.input(index, 2);
        let (conv, order) = (point(k, n), if is_transposed { Order::Filters } else { Order::Columns });
        let key = self.key(weight, bias, conv, order, [alpha, beta], &chain);
        let affines = self.affines(&chain, out, n, Channels::Final);
        let constant = LazyCell::new(|| network.constant(weight));
        let values = || {
            let mut values = borrowed(constant.as_ref());
            let mut shifts = bias.and_then(|bias| network.floats(bias)).map(|bias| spread(&bias, n, beta));
            let scale = affines
                .iter()
                .fold(vec![alpha; n], |scale, affine| scale.iter().zip(&affine.scale).map(|(a, b)| a * b).collect());
            scale_columns(&mut values, &scale, is_transposed, k);
            fold_bias(&mut shifts, &affines, n);
            (values, shifts)
        };
        let traits = self.traits(weight, conv, rows(m), order);
        let packed = network.cache.float(key, &traits, order, values, self.threads);
        let (packed, choice) = packed.map_err(|source| self.kernel_error(index, source))?;
        self.let_go(weight, &packed, &traits, alpha == 1.0 && affines.iter().all(Affine::is_shift));
        let mut inputs = vec![self.source(x, Layout::Plain)?];
        if let Some(residual) = chain.residual {
            inputs.push(self.source(residual, Layout::Plain)?);
        }
        let info = self.product_info(index, &chain.works, &traits, packed.product.kernel_name(), &choice);
        let last = lissom_kernels::conv::Channels::Last;
        let kind = Kind::Product { packed, images: rows(m), from: last, to: last, activation: chain.activation };
        let made = self.emit(info, kind, inputs, len, Elem::F32);
        self.end(&chain, Layout::Plain, made);
        Ok(true)
    }

    /// The weight is packed, `is_same` if nothing changed its values: unless somebody else needs it, it is not held twice.
    fn let_go(&self, weight: ValueId, packed: &Arc<PackedFloat>, traits: &Traits, is_same: bool) {
        let network = self.network;
        if network.only_consumer(weight).is_some() {
            let percent = traits.zeros.nonzero_percent;
            network.cache.originals.let_go(weight, Some(packed).filter(|_| is_same), percent);
        }
    }

    /// What decides the form of an f32 product.
    pub(super) fn traits(&self, weight: ValueId, shape: ConvShape, images: Images, order: Order) -> Traits {
        let network = self.network;
        let count = || {
            let values = network.constant(weight);
            Zeros::count(&shape, order, &borrowed(values.as_ref()), |value, _| value == 0.0)
        };
        let zeros = match shape.groups {
            1 if network.is_constant(weight) => network.cache.zeros(weight, shape, order, count),
            _ => Zeros::NONE,
        };
        Traits { shape, images: alike(images), zeros, is_integer: false, may_round: network.cache.may_round }
    }

    /// [`Builder::info`] of a product.
    pub(super) fn product_info(
        &self,
        index: usize,
        works: &[usize],
        traits: &Traits,
        kernel: &'static str,
        choice: &Choice,
    ) -> StepInfo {
        let info = self.info(index, works, kernel);
        let nonzero_macs = (info.macs as f64 * traits.zeros.density()) as u64;
        StepInfo { why: Arc::clone(&choice.why), nonzero_macs, is_integer: traits.is_integer, ..info }
    }

    /// The layout in which those who read the chain's result want it.
    fn wanted_layout(&self, chain: &Chain) -> Layout {
        let network = self.network;
        let residual = chain.residual.map(|id| if self.layout(id) == Layout::Last { 1 } else { -1 });
        let consumers = network.consumers[chain.output.index()].iter().map(|&index| match network.works[index].op {
            // A sparse product reads both, channels first a little faster.
            Op::Conv { .. } if self.is_likely_sparse(index) => -1,
            Op::Conv { .. } | Op::Pool { .. } => 2,
            _ => 0,
        });
        let votes: i32 = residual.into_iter().chain(consumers).sum();
        if votes > 0 { Layout::Last } else { Layout::Plain }
    }

    /// True if a convolution will probably run in a form that takes its channels first.
    fn is_likely_sparse(&self, index: usize) -> bool {
        let Some((weight, out)) = self.input(index, 1).zip(self.output(index)) else { return false };
        let Some((weight_shape, out_shape)) = self.network.shape(weight).zip(self.network.shape(out)) else {
            return false;
        };
        let Op::Conv { window, groups } = self.network.works[index].op else { return false };
        let conv = ConvShape { window, c_in: weight_shape[1] * groups, c_out: weight_shape[0], groups };
        let traits = self.traits(weight, conv, images(&out_shape), Order::Filters);
        CHANNELS_FIRST.contains(&self.network.cache.chooser.guess(&traits, &fitting(FORMS, &traits)))
    }

    /// The chain is computed; its result is in `source`.
    pub fn end(&mut self, chain: &Chain, layout: Layout, source: crate::plan::step::Source) {
        for &index in &chain.works {
            self.is_done[index] = true;
        }
        self.set(chain.output, layout, source);
    }

    /// The key of a packed weight; `None` if a part of it is a constant of this plan only.
    pub(super) fn key(
        &self,
        weight: ValueId,
        bias: Option<ValueId>,
        shape: ConvShape,
        order: Order,
        factors: [f32; 2],
        chain: &Chain,
    ) -> Option<PackKey> {
        let network = self.network;
        let is_stable = |id: &ValueId| network.is_weight(*id) || !network.is_constant(*id);
        let folded = || chain.folded.iter().flat_map(|&index| network.works[index].inputs.iter().flatten());
        let all_stable = [weight].iter().chain(&bias).chain(folded()).all(is_stable);
        let folded = chain.folded.iter().map(|&index| network.works[index].node).collect();
        let factors = factors.map(f32::to_bits);
        all_stable.then_some(PackKey { weight, bias, shape, order, factors, folded, form: "" })
    }

    fn affines(&self, chain: &Chain, first: ValueId, n: usize, channels: Channels) -> Vec<Affine> {
        let mut value = first;
        let mut affines = Vec::new();
        for &index in &chain.folded {
            affines.extend(self.affine(index, value, n, channels));
            value = self.output(index).unwrap_or(value);
        }
        affines
    }
}

/// The values of a weight, copied only if something changes them.
fn borrowed(weight: Option<&Tensor>) -> Cow<'_, [f32]> {
    Cow::Borrowed(weight.and_then(|weight| weight.as_slice().ok()).unwrap_or_default())
}

/// One number for all columns, or one a column, times `factor`.
fn spread(values: &[f32], n: usize, factor: f32) -> Vec<f32> {
    match values {
        [one] => vec![one * factor; n],
        many => many.iter().map(|x| x * factor).collect(),
    }
}

fn fold_bias(bias: &mut Option<Vec<f32>>, affines: &[Affine], n: usize) {
    if affines.is_empty() {
        return;
    }
    let mut sums = bias.take().unwrap_or_else(|| vec![0.0; n]);
    for affine in affines {
        for ((sum, scale), shift) in sums.iter_mut().zip(&affine.scale).zip(&affine.shift) {
            *sum = *sum * scale + shift;
        }
    }
    *bias = Some(sums);
}

fn scale_columns(values: &mut Cow<'_, [f32]>, scale: &[f32], is_transposed: bool, k: usize) {
    if scale.iter().all(|&scale| scale == 1.0) {
        return;
    }
    let values = values.to_mut();
    if is_transposed {
        for (row, &scale) in values.chunks_mut(k.max(1)).zip(scale) {
            row.iter_mut().for_each(|w| *w *= scale);
        }
    } else {
        for row in values.chunks_mut(scale.len().max(1)) {
            row.iter_mut().zip(scale).for_each(|(w, &scale)| *w *= scale);
        }
    }
}
