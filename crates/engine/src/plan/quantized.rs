//! Steps on quantized values.

use std::sync::Arc;

use lissom_kernels::attention::Attention;
use lissom_kernels::conv::Images;
use lissom_kernels::elementwise::{self, Binary, Operand};
use lissom_kernels::qattention::{self, Out, Side};
use lissom_kernels::qgemm::{Dequantize, Output, QResidual, Requantize};
use lissom_kernels::quantize::{self, Bytes, BytesMut, Term};
use lissom_kernels::{Activation, ShapeError, Threads};

use super::run::{Operands, bytes_mut};
use super::step::{Elem, Finish, Grid, IntegerAttention};
use crate::EngineError;
use crate::product::IntegerProduct;

/// Elements that one task takes through f32 and back.
const TASK: usize = 4096;

/// Runs `product` with the output that `finish` describes.
fn finished(
    operands: &Operands<'_>,
    finish: &Finish,
    words: &mut [f32],
    len: usize,
    product: impl FnOnce(&mut Output<'_>) -> Result<(), ShapeError>,
) -> Result<(), EngineError> {
    let done = match finish {
        Finish::Codes { multipliers, bias, residual, grid, clamp } => {
            let residual = match residual {
                Some(from) => Some(QResidual {
                    values: operands.bytes(1, from.elem)?,
                    zero_point: from.zero_point,
                    multiplier: from.scale / grid.scale,
                }),
                None => None,
            };
            let bias = bias.as_deref();
            let requantize = Requantize { multipliers, bias, residual, zero_point: grid.zero_point, clamp: *clamp };
            product(&mut Output::Bytes(requantize, bytes_mut(words, len, grid.elem)))
        }
        Finish::Floats { scales, bias, has_residual, activation } => {
            let residual = if *has_residual { Some(operands.f32(1)?) } else { None };
            let dequantize = Dequantize { scales, bias: bias.as_deref(), residual, activation: *activation };
            product(&mut Output::F32(dequantize, words))
        }
    };
    done.map_err(|source| operands.kernel_error(source))
}

#[allow(clippy::too_many_arguments, reason = "the fields of one step and where it runs")]
pub(super) fn product(
    operands: &Operands<'_>,
    packed: &Arc<Box<dyn IntegerProduct>>,
    images: Images,
    grid: &Grid,
    finish: &Finish,
    words: &mut [f32],
    len: usize,
    threads: &Threads,
) -> Result<(), EngineError> {
    let x = operands.bytes(0, grid.elem)?;
    finished(operands, finish, words, len, |output| packed.run(threads, x, grid.zero_point, images, output))
}

/// q, k, v, mask?
pub(super) fn attention(
    operands: &Operands<'_>,
    shape: &Attention<'_>,
    integer: &IntegerAttention,
    words: &mut [f32],
    len: usize,
    threads: &Threads,
) -> Result<(), EngineError> {
    let side = |index: usize| {
        Ok::<_, EngineError>(match integer.sides[index] {
            Elem::F32 => Side::F32(operands.f32(index)?),
            elem => Side::Codes(operands.bytes(index, elem)?),
        })
    };
    let sides = [side(0)?, side(1)?, side(2)?];
    let mask = if operands.has(3) { Some(operands.f32(3)?) } else { None };
    let mut out = match integer.out {
        None => Out::F32(words),
        Some(Grid { scale, zero_point, elem }) => Out::Codes { codes: bytes_mut(words, len, elem), scale, zero_point },
    };
    qattention::attention(threads, shape, sides, mask, &mut out).map_err(|source| operands.kernel_error(source))
}

/// `finish.scales` are the weight's; the scale of `x` comes on top.
pub(super) fn dynamic_product(
    packed: &dyn IntegerProduct,
    x: &[f32],
    images: Images,
    finish: Dequantize<'_>,
    out: &mut [f32],
    threads: &Threads,
) -> Result<(), ShapeError> {
    let (low, high) = range(x);
    let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
    let zero_point = i32::from((-low / scale).clamp(0.0, 255.0).round_ties_even() as u8);
    let mut codes = vec![0u8; x.len()];
    quantize::quantize(threads, x, scale, zero_point, &mut BytesMut::U8(&mut codes))?;
    let scales: Vec<f32> = finish.scales.iter().map(|own| own * scale).collect();
    let mut output = Output::F32(Dequantize { scales: &scales, ..finish }, out);
    packed.run(threads, Bytes::U8(&codes), zero_point, images, &mut output)
}

/// The smallest and largest element, and 0.
fn range(x: &[f32]) -> (f32, f32) {
    const LANES: usize = 16;
    let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(block) {
            *low = low.min(x);
            *high = high.max(x);
        }
    }
    let ends = low.into_iter().chain(high).chain(rest.iter().copied());
    ends.fold((0.0, 0.0), |(low, high), x| (low.min(x), high.max(x)))
}

/// Both operands become real numbers, a block at a time, and the result codes again.
#[allow(clippy::too_many_arguments, reason = "the fields of one step and where it runs")]
pub(super) fn binary(
    operands: &Operands<'_>,
    op: Binary,
    grids: &[Grid; 2],
    to: &Grid,
    activation: Activation,
    words: &mut [f32],
    len: usize,
    threads: &Threads,
) -> Result<(), EngineError> {
    let (a, b) = (operands.bytes(0, grids[0].elem)?, operands.bytes(1, grids[1].elem)?);
    for (what, codes) in [("a", a), ("b", b)] {
        ShapeError::expect(what, codes.len(), len).map_err(|source| operands.kernel_error(source))?;
    }
    if let Some(clamp) = clamp(activation, to).filter(|_| op == Binary::Add) {
        let term = |codes, grid: &Grid| Term { codes, zero_point: grid.zero_point, multiplier: grid.scale / to.scale };
        let terms = [term(a, &grids[0]), term(b, &grids[1])];
        let mut out = bytes_mut(words, len, to.elem);
        let done = quantize::add(threads, terms, to.zero_point, clamp, &mut out);
        return done.map_err(|source| operands.kernel_error(source));
    }
    let block = |index: usize, out: BytesMut<'_>| {
        // The lengths were checked, so no kernel refuses.
        let _ = binary_block(op, [slice(a, index, out.len()), slice(b, index, out.len())], grids, to, activation, out);
    };
    match bytes_mut(words, len, to.elem) {
        BytesMut::U8(out) => threads.run_chunks(out, TASK, |index, out| block(index, BytesMut::U8(out))),
        BytesMut::I8(out) => threads.run_chunks(out, TASK, |index, out| block(index, BytesMut::I8(out))),
    }
    Ok(())
}

fn slice(bytes: Bytes<'_>, index: usize, len: usize) -> Bytes<'_> {
    match bytes {
        Bytes::U8(x) => Bytes::U8(&x[index * TASK..][..len]),
        Bytes::I8(x) => Bytes::I8(&x[index * TASK..][..len]),
    }
}

fn binary_block(
    op: Binary,
    codes: [Bytes<'_>; 2],
    grids: &[Grid; 2],
    to: &Grid,
    activation: Activation,
    mut out: BytesMut<'_>,
) -> Result<(), ShapeError> {
    let here = Threads::single();
    let (mut a, mut b) = ([0f32; TASK], [0f32; TASK]);
    let (a, b) = (&mut a[..out.len()], &mut b[..out.len()]);
    quantize::dequantize(&here, codes[0], grids[0].scale, grids[0].zero_point, a)?;
    quantize::dequantize(&here, codes[1], grids[1].scale, grids[1].zero_point, b)?;
    elementwise::binary_in_place(&here, op, a, Operand::Same(b))?;
    if let Some(unary) = super::lower::unary_of(activation) {
        elementwise::unary_in_place(&here, unary, a);
    }
    quantize::quantize(&here, a, to.scale, to.zero_point, &mut out)
}

/// The codes that an activation lets through, if it is a clamp.
pub(super) fn clamp(activation: Activation, grid: &Grid) -> Option<[i32; 2]> {
    let [low, high] = limits(grid.elem);
    let code = |x: f32| {
        let code = (x / grid.scale).round_ties_even() + grid.zero_point as f32;
        if code.is_nan() { low } else { code.clamp(low as f32, high as f32) as i32 }
    };
    match activation {
        Activation::None => Some([low, high]),
        Activation::Relu => Some([code(0.0), high]),
        Activation::Clip { min, max } => Some([code(min), code(max)]),
        _ => None,
    }
}

/// The limits of the codes of a type.
pub(super) fn limits(elem: Elem) -> [i32; 2] {
    if elem == Elem::I8 { [-128, 127] } else { [0, 255] }
}
