//! Products of few rows in f32 with a weight in 8- or 4-bit codes: reading the weight is all they cost, so it stays codes.

use lissom_graph::ValueId;
use lissom_kernels::wgemm::{Bits, Codes, PackedW};
use lissom_tensor::{Affine, DType, Storage, Tensor};

use super::epilogue::Channels;
use super::{Builder, Layout};
use crate::EngineError;
use crate::plan::step::{Elem, Kind};
use crate::plan::weights::PackedFloat;
use crate::product::{Order, point, rows};

/// With more rows the product is bound by arithmetic, and decoding is more of it.
const MAX_ROWS: usize = 8;
/// Elements of a weight that is not in cache anyway.
const MIN_WEIGHT: usize = 1 << 16;

impl Builder<'_, '_> {
    pub(super) fn few_rows(
        &mut self,
        index: usize,
        x: ValueId,
        [m, k, n]: [usize; 3],
        is_transposed: bool,
    ) -> Result<bool, EngineError> {
        let network = self.network;
        let (Some(weight), Some(out)) = (self.input(index, 1), self.output(index)) else { return Ok(false) };
        let Some(affine) = network.affine(weight) else { return Ok(false) };
        if m > MAX_ROWS || k * n < MIN_WEIGHT || !is_packable(affine, usize::from(is_transposed)) {
            return Ok(false);
        }
        let Some(bias) = self.real_bias(index, n) else { return Ok(false) };
        let (bias, chain) = self.with_shifts(bias, self.chain(out, n, Channels::Final, true), out, n, Channels::Final);
        let (shape, order) = (point(k, n), if is_transposed { Order::Filters } else { Order::Columns });
        let key = self.key(weight, self.input(index, 2), shape, order, [1.0; 2], &chain);
        let packed = network.cache.coded(key, || {
            let own = OwnCodes::of(affine, n);
            let group = if affine.block_size == 0 { k } else { affine.block_size };
            let codes = Codes {
                bits: own.bits,
                values: &own.values,
                scales: &own.scales,
                zero_points: &own.zero_points,
                group,
                is_transposed,
            };
            Ok(PackedFloat { product: Box::new(PackedW::new(&codes, k, n)?), bias })
        });
        let packed = packed.map_err(|source| self.kernel_error(index, source))?;
        let mut inputs = vec![self.source(x, Layout::Plain)?];
        if let Some(residual) = chain.residual {
            inputs.push(self.source(residual, Layout::Plain)?);
        }
        let info = self.info(index, &chain.works, packed.product.kernel_name());
        let last = lissom_kernels::conv::Channels::Last;
        let kind = Kind::Product { packed, images: rows(m), from: last, to: last, activation: chain.activation };
        let made = self.emit(info, kind, inputs, m * n, Elem::F32);
        self.end(&chain, Layout::Plain, made);
        Ok(true)
    }
}

/// True if the scales are one for all, one a column, or one a group of a column; `k_axis` is the axis of the sums.
fn is_packable(affine: &Affine, k_axis: usize) -> bool {
    let shape = affine.codes.shape();
    let is_typed = matches!(affine.codes.dtype(), DType::I8 | DType::U8 | DType::I4 | DType::U4);
    let fits = match affine.block_size {
        0 => affine.scale.len() == 1 || (affine.axis != k_axis && affine.scale.shape() == [shape[1 - k_axis]]),
        block => {
            let mut expected = shape.to_vec();
            expected[k_axis] = shape[k_axis].div_ceil(block);
            affine.axis == k_axis && affine.scale.shape() == expected
        }
    };
    let zeros_fit = affine.zero_point.as_ref().is_none_or(|zero| zero.shape() == affine.scale.shape());
    is_typed && fits && zeros_fit && shape.len() == 2 && affine.scale.dtype() == DType::F32
}

/// The parts of an encoding as the kernel wants them: signed, and at least one scale a column.
struct OwnCodes {
    bits: Bits,
    values: Vec<i8>,
    scales: Vec<f32>,
    zero_points: Vec<i8>,
}

impl OwnCodes {
    fn of(affine: &Affine, n: usize) -> Self {
        let bits = if matches!(affine.codes.dtype(), DType::I4 | DType::U4) { Bits::Four } else { Bits::Eight };
        // What 0 becomes in `signed`.
        let shifted_zero = match affine.codes.dtype() {
            DType::U8 => -128,
            DType::U4 => -8,
            _ => 0,
        };
        let zero_points = affine.zero_point.as_ref().map_or_else(|| vec![shifted_zero; affine.scale.len()], signed);
        let is_symmetric = zero_points.iter().all(|&zero| zero == 0);
        let zero_points = if is_symmetric { Vec::new() } else { for_columns(zero_points, n) };
        let scales = for_columns(affine.scale.to_f32_vec().unwrap_or_default(), n);
        Self { bits, values: signed(&affine.codes), scales, zero_points }
    }
}

fn for_columns<T: Copy>(values: Vec<T>, n: usize) -> Vec<T> {
    if let [one] = values[..] { vec![one; n] } else { values }
}

/// Codes as signed numbers: unsigned ones less half of their range, which differences of codes do not show.
fn signed(codes: &Tensor) -> Vec<i8> {
    match codes.storage() {
        Storage::I8(values) | Storage::SmallInt(_, values) => values.clone(),
        Storage::U8(values) => values.iter().map(|&code| (code ^ 0x80) as i8).collect(),
        Storage::SmallUint(_, values) => values.iter().map(|&code| code as i8 - 8).collect(),
        _ => Vec::new(),
    }
}
