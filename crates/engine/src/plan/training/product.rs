//! Products with a matrix that is computed: `Gemm`, and `MatMul` with a matrix on the right. It is packed by a step of its own.

use lissom_graph::ValueId;
use lissom_kernels::elementwise::Binary;
use lissom_kernels::gemm::{self, Matrix};
use lissom_kernels::{Activation, Epilogue, Threads, bgemm};

use super::{Lowering, product_bf16 as bf16};
use crate::EngineError;
use crate::plan::lower::{Builder, Channels, Layout, Seen};
use crate::plan::operands::Operands;
use crate::plan::step::{Compute, Source};
use crate::plan::work::Op;

pub(super) const GEMM: Lowering = Lowering { domain: "", op_type: "Gemm", lower };

fn lower(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some(a), Some(b), Some(out)) = (builder.input(index, 0), builder.input(index, 1), builder.output(index))
    else {
        return Ok(false);
    };
    let form = builder.form(index);
    let flag = |name: &str| form.int(name, 0).map(|flag| flag != 0);
    let (Some(trans_a), Some(trans_b), Some(alpha), Some(beta)) =
        (flag("transA"), flag("transB"), form.float("alpha", 1.0), form.float("beta", 1.0))
    else {
        return Ok(false);
    };
    let bias = builder.input(index, 2);
    let shape = builder.shape(out)?;
    let is_row =
        |id: ValueId| network.is_f32(id) && network.shape(id).is_some_and(|own| Some(&own[..]) == shape.get(1..));
    let is_fit = alpha == 1.0 && bias.is_none_or(|bias| beta == 1.0 && is_row(bias));
    if !is_fit || !network.is_f32(a) || !network.is_f32(b) || shape.contains(&0) {
        return Ok(false);
    }
    let turned = |seen: Seen, is_turned: bool| -> Option<(Source, [usize; 2], [usize; 2])> {
        let ([rows, cols], [row, col]) = (seen.shape.try_into().ok()?, seen.strides.try_into().ok()?);
        Some(if is_turned { (seen.source, [cols, rows], [col, row]) } else { (seen.source, [rows, cols], [row, col]) })
    };
    let (a, b) = (turned(builder.seen(a)?, trans_a), turned(builder.seen(b)?, trans_b));
    let (Some((a, [m, k], a_strides)), Some((b, [_, n], b_strides))) = (a, b) else { return Ok(false) };
    let sides = Sides { a, b, a_strides, b_strides, size: [m, k, n] };
    emit(builder, index, sides, bias, out)?;
    Ok(true)
}

/// `MatMul` of rows by a matrix; false if the rows of `a` do not follow each other evenly.
pub(in crate::plan) fn by_matrix(
    builder: &mut Builder<'_, '_>,
    index: usize,
    a: &Seen,
    b: &Seen,
    out: ValueId,
) -> Result<bool, EngineError> {
    let Some(rank) = a.shape.len().checked_sub(2) else { return Ok(false) };
    let [k, n] = b.shape[..] else { return Ok(false) };
    let is_even = (0..rank).all(|axis| a.strides[axis] == a.strides[axis + 1] * a.shape[axis + 1]);
    if !is_even {
        return Ok(false);
    }
    let m = a.shape[..=rank].iter().product();
    let sides = Sides {
        a: a.source.clone(),
        b: b.source.clone(),
        a_strides: [a.strides[rank], a.strides[rank + 1]],
        b_strides: [b.strides[0], b.strides[1]],
        size: [m, k, n],
    };
    emit(builder, index, sides, None, out)?;
    Ok(true)
}

struct Sides {
    a: Source,
    b: Source,
    a_strides: [usize; 2],
    b_strides: [usize; 2],
    /// m, k, n.
    size: [usize; 3],
}

/// Adds the steps, and takes the addition of a row, a residual and an activation along.
fn emit(
    builder: &mut Builder<'_, '_>,
    index: usize,
    sides: Sides,
    bias: Option<ValueId>,
    out: ValueId,
) -> Result<(), EngineError> {
    let Sides { a, b, a_strides, b_strides, size: [m, k, n] } = sides;
    let rounds = builder.rounds();
    let packed_len = if rounds { bgemm::packed_pairs_len(k, n) } else { gemm::packed_len(k, n) };
    let packed_len = packed_len.map_err(|source| builder.kernel_error(index, source))?;
    let packed = if rounds {
        let pack = bf16::Pack { strides: b_strides, size: [k, n] };
        builder.compute(builder.info(index, &[], "pack bf16"), pack, vec![b], packed_len)
    } else {
        let pack = Pack { strides: b_strides, size: [k, n] };
        builder.compute(builder.info(index, &[], "pack"), pack, vec![b], packed_len)
    };
    let (mut bias, mut value, mut works) = (bias, out, Vec::new());
    if let (None, Some((next, row, after))) = (bias, added_row(builder, out, n)) {
        (bias, value) = (Some(row), after);
        works.push(next);
    }
    let chain = builder.chain(value, n, Channels::Final, false);
    works.extend(&chain.works);
    let mut inputs = vec![a, packed];
    for id in bias.into_iter().chain(chain.residual) {
        inputs.push(builder.source(id, Layout::Plain)?);
    }
    let (strides, size, activation) = (a_strides, [m, k, n], chain.activation);
    let (has_bias, has_residual) = (bias.is_some(), chain.residual.is_some());
    let made = if rounds {
        let product = bf16::Product { strides, size, has_bias, has_residual, activation };
        builder.compute(builder.info(index, &works, "gemm bf16"), product, inputs, m * n)
    } else {
        let product = Product { strides, size, has_bias, has_residual, activation };
        builder.compute(builder.info(index, &works, "gemm packed"), product, inputs, m * n)
    };
    works.iter().for_each(|&work| builder.is_done[work] = true);
    builder.end(&chain, Layout::Plain, made);
    Ok(())
}

/// The addition of one row that follows, if it can be read now: its work, the row, and the sum.
fn added_row(builder: &Builder<'_, '_>, value: ValueId, n: usize) -> Option<(usize, ValueId, ValueId)> {
    let network = builder.network;
    let next = network.only_consumer(value).filter(|&next| !builder.is_done[next])?;
    let Op::Binary(Binary::Add) = network.works[next].op else { return None };
    let (row, sum) = (builder.other(next, value)?, builder.output(next)?);
    let is_row = network.shape(row)? == [n] && network.is_f32(row) && builder.is_ready(row);
    (is_row && network.shape(sum) == network.shape(value)).then_some((next, row, sum))
}

/// b.
#[derive(Debug)]
struct Pack {
    strides: [usize; 2],
    size: [usize; 2],
}

impl Compute for Pack {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let ([k, n], [row_stride, col_stride]) = (self.size, self.strides);
        let b = Matrix { data: operands.f32(0)?, row_stride, col_stride };
        gemm::pack_into(threads, b, k, n, out).map_err(|error| operands.kernel_error(error))
    }
}

/// a, packed b, bias?, residual?
#[derive(Debug)]
struct Product {
    strides: [usize; 2],
    size: [usize; 3],
    has_bias: bool,
    has_residual: bool,
    activation: Activation,
}

impl Compute for Product {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let [row_stride, col_stride] = self.strides;
        let a = Matrix { data: operands.f32(0)?, row_stride, col_stride };
        let bias = if self.has_bias { Some(operands.f32(2)?) } else { None };
        let at = 2 + usize::from(self.has_bias);
        let residual = if self.has_residual { Some(operands.f32(at)?) } else { None };
        let epilogue = Epilogue { bias, residual, activation: self.activation };
        gemm::gemm_packed(threads, a, self.size, operands.f32(1)?, &epilogue, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
