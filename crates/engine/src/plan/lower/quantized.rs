//! Integer products and additions between `DequantizeLinear` and `QuantizeLinear`.

use lissom_graph::ValueId;
use lissom_kernels::conv::{ConvShape, Images};
use lissom_kernels::quantize::Bytes;
use lissom_tensor::{Affine, Storage, Tensor};

use super::epilogue::{Chain, Channels};
use super::qlinear::Made;
use super::{Builder, Forms, Layout, Record, is_clamp};
use crate::EngineError;
use crate::plan::quantized::{clamp, limits};
use crate::plan::step::{Elem, Finish, Grid, Kind, Source};
use crate::plan::work::Op;
use crate::product::{IntegerLayer, Order, point, rows};

/// An integer weight: one scale for all or one a channel of the result.
struct Codes<'a> {
    affine: &'a Affine,
    scales: Vec<f32>,
    zero_points: Vec<i32>,
}

/// The codes of a tensor of 8 bits or less, a byte each.
pub(super) fn bytes(tensor: &Tensor) -> Option<Bytes<'_>> {
    match tensor.storage() {
        Storage::U8(values) | Storage::SmallUint(_, values) => Some(Bytes::U8(values)),
        Storage::I8(values) | Storage::SmallInt(_, values) => Some(Bytes::I8(values)),
        _ => None,
    }
}

impl Builder<'_, '_> {
    pub fn quantize(&mut self, index: usize, grid: Grid) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        if let Some(Record { codes: Some((forms, own)), .. }) = self.record(x)
            && *own == grid
        {
            let forms = forms.clone();
            self.set_record(out, Record { forms, ..Record::default() });
            return Ok(true);
        }
        if self.map(index)? {
            return Ok(true);
        }
        let layout = self.layout(x);
        let source = self.source(x, layout)?;
        let info = self.info(index, &[], "quantize");
        let len = self.shape(out)?.iter().product();
        let made = self.emit(info, Kind::Quantize { grid }, vec![source], len, grid.elem);
        self.set(out, layout, made);
        Ok(true)
    }

    pub fn dequantize(&mut self, index: usize, grid: Grid) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let layout = self.layout(x);
        let source = self.source(x, layout)?;
        let forms = match self.record(x) {
            Some(record) => Forms { tensor: None, ..record.forms.clone() },
            None => Forms::at(layout, source),
        };
        self.set_record(out, Record { codes: Some((forms, grid)), ..Record::default() });
        Ok(true)
    }

    /// The weight as integers with scales along `axis`, if it is so encoded.
    fn weight_codes(&self, id: ValueId, axis: usize) -> Option<Codes<'_>> {
        let affine = self.network.affine(id)?;
        let n = *affine.codes.shape().get(axis)?;
        let is_per_channel = affine.scale.len() == n && affine.axis == axis && affine.scale.rank() == 1;
        let is_fit = affine.block_size == 0 && (affine.scale.len() == 1 || is_per_channel);
        bytes(&affine.codes)?;
        let scales = affine.scale.as_slice::<f32>().ok()?.to_vec();
        let zero_points = match &affine.zero_point {
            Some(zero) => zero.to_i64_vec().ok()?.into_iter().map(|zero| zero as i32).collect(),
            None => Vec::new(),
        };
        is_fit.then_some(Codes { affine, scales, zero_points })
    }

    pub fn qconv(&mut self, index: usize, x: ValueId, conv: ConvShape, images: Images) -> Result<bool, EngineError> {
        let (Some(weight), Some(out), Some(grid)) = (self.input(index, 1), self.output(index), self.grid(x)) else {
            return Ok(false);
        };
        let Some(codes) = self.weight_codes(weight, 0) else { return Ok(false) };
        let Some(bias) = self.real_bias(index, conv.c_out) else { return Ok(false) };
        let Some(values) = bytes(&codes.affine.codes) else { return Ok(false) };
        let layer =
            IntegerLayer { shape: conv, order: Order::Filters, weight: values, zero_points: &codes.zero_points };
        let (packed, made) = self.packed_codes(index, Some(weight), &layer, images)?;
        let scales = scales(&codes, grid, conv.c_out);
        let Some((source, _)) = self.codes(x, Layout::Last)? else { return Ok(false) };
        let kind = |finish| Kind::QProduct { packed, images, grid, finish: Box::new(finish) };
        self.finished(index, out, conv.c_out, Channels::Second, (source, scales, bias), &made, kind)?;
        Ok(true)
    }

    pub fn qlinear(
        &mut self,
        index: usize,
        x: ValueId,
        [m, k, n]: [usize; 3],
        is_transposed: bool,
    ) -> Result<bool, EngineError> {
        let (Some(weight), Some(out), Some(grid)) = (self.input(index, 1), self.output(index), self.grid(x)) else {
            return Ok(false);
        };
        let Some(codes) = self.weight_codes(weight, usize::from(!is_transposed)) else { return Ok(false) };
        let Some(bias) = self.real_bias(index, n) else { return Ok(false) };
        let Some(values) = bytes(&codes.affine.codes) else { return Ok(false) };
        let order = if is_transposed { Order::Filters } else { Order::Columns };
        let layer = IntegerLayer { shape: point(k, n), order, weight: values, zero_points: &codes.zero_points };
        let (packed, made) = self.packed_codes(index, Some(weight), &layer, rows(m))?;
        let scales = scales(&codes, grid, n);
        let Some((source, _)) = self.codes(x, Layout::Plain)? else { return Ok(false) };
        let kind = |finish| Kind::QProduct { packed, images: rows(m), grid, finish: Box::new(finish) };
        self.finished(index, out, n, Channels::Final, (source, scales, bias), &made, kind)?;
        Ok(true)
    }

    /// The bias as real numbers; `Some(None)` if there is none, `None` if it has no such form.
    pub(super) fn real_bias(&self, index: usize, n: usize) -> Option<Option<Vec<f32>>> {
        let Some(id) = self.input(index, 2) else { return Some(None) };
        let values = self.network.floats(id)?;
        match values.len() {
            1 => Some(Some(vec![values[0]; n])),
            len => (len == n).then_some(Some(values)),
        }
    }

    /// Adds the step of an integer product and what follows it. `scales` are of the sums.
    #[allow(clippy::too_many_arguments, reason = "one product: what goes in and how it is made")]
    fn finished(
        &mut self,
        index: usize,
        out: ValueId,
        n: usize,
        channels: Channels,
        (source, scales, bias): (Source, Vec<f32>, Option<Vec<f32>>),
        made: &Made,
        kind: impl FnOnce(Finish) -> Kind,
    ) -> Result<(), EngineError> {
        let layout = if channels == Channels::Second { Layout::Last } else { Layout::Plain };
        let (bias, chain) = self.with_shifts(bias, self.chain(out, n, channels, true), out, n, channels);
        let len = self.shape(out)?.iter().product();
        let mut inputs = vec![source];
        if let Some((next, codes, grid)) = self.quantized_end(&chain) {
            let multipliers = scales.iter().map(|scale| scale / grid.scale).collect();
            let bias = bias.as_ref().map(|bias| {
                bias.iter().zip(&scales).map(|(bias, scale)| (bias / scale).round_ties_even() as i32).collect()
            });
            let mut residual = None;
            if let Some(id) = chain.residual
                && let Some((source, grid)) = self.codes(id, layout)?
            {
                inputs.push(source);
                residual = Some(grid);
            }
            let clamp = clamp(chain.activation, &grid).unwrap_or(limits(grid.elem));
            let works: Vec<usize> = chain.works.iter().copied().chain([next]).collect();
            let info = made.info(self, index, &works);
            let made = self.emit(
                info,
                kind(Finish::Codes { multipliers, bias, residual, grid, clamp }),
                inputs,
                len,
                grid.elem,
            );
            works.iter().for_each(|&work| self.is_done[work] = true);
            self.set(codes, layout, made);
            return Ok(());
        }
        if let Some(id) = chain.residual {
            inputs.push(self.source(id, layout)?);
        }
        let finish =
            Finish::Floats { scales, bias, has_residual: chain.residual.is_some(), activation: chain.activation };
        let info = made.info(self, index, &chain.works);
        let made = self.emit(info, kind(finish), inputs, len, Elem::F32);
        self.end(&chain, layout, made);
        Ok(())
    }

    /// Constants added at the beginning of the chain go into the bias; at a scale the chain ends.
    pub(super) fn with_shifts(
        &self,
        mut bias: Option<Vec<f32>>,
        chain: Chain,
        out: ValueId,
        n: usize,
        channels: Channels,
    ) -> (Option<Vec<f32>>, Chain) {
        let mut value = out;
        let mut sums = bias.clone().unwrap_or_else(|| vec![0.0; n]);
        for &index in &chain.folded {
            let affine = self.affine(index, value, n, channels).filter(|affine| affine.scale.iter().all(|&s| s == 1.0));
            let Some(affine) = affine else {
                // Rare: a scale after an integer product. Nothing is fused then.
                return (bias, self.chain(out, n, channels, false));
            };
            sums.iter_mut().zip(&affine.shift).for_each(|(sum, shift)| *sum += shift);
            value = self.output(index).unwrap_or(value);
        }
        if !chain.folded.is_empty() {
            bias = Some(sums);
        }
        (bias, chain)
    }

    /// The quantization at the end of a chain, if codes can be made without a detour.
    fn quantized_end(&self, chain: &Chain) -> Option<(usize, ValueId, Grid)> {
        let next = self.network.only_consumer(chain.output)?;
        let Op::Quantize { grid } = self.network.works[next].op else { return None };
        let codes = self.output(next)?;
        let has_codes = |id: ValueId| self.record(id).is_some_and(|record| record.codes.is_some());
        let is_fit = is_clamp(chain.activation) && chain.residual.is_none_or(has_codes);
        is_fit.then_some((next, codes, grid))
    }
}

/// Scales of the sums, one a channel.
fn scales(codes: &Codes<'_>, grid: Grid, n: usize) -> Vec<f32> {
    match codes.scales[..] {
        [one] => vec![one * grid.scale; n],
        _ => codes.scales.iter().map(|scale| scale * grid.scale).collect(),
    }
}
