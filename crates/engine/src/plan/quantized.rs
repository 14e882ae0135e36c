//! Steps on quantized values.

use std::cell::RefCell;
use std::sync::Arc;

use lissom_kernels::attention::Attention;
use lissom_kernels::conv::Images;
use lissom_kernels::qattention::{self, Out, Side};
use lissom_kernels::qgemm::{Dequantize, Output, QResidual, Requantize};
use lissom_kernels::quantize::{self, Bytes, BytesMut, Term};
use lissom_kernels::{Activation, ShapeError, Threads};

use super::operands::{Operands, bytes_mut};
use super::step::{Elem, Finish, Grid, IntegerAttention};
use crate::EngineError;
use crate::product::IntegerProduct;

thread_local! {
    static CODES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
    let (low, high) = quantize::range(threads, x);
    let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
    let zero_point = i32::from((-low / scale).clamp(0.0, 255.0).round_ties_even() as u8);
    // Taken, not borrowed: while a caller's pool works, this thread may run another network.
    let mut memory = CODES.take();
    memory.resize(memory.len().max(x.len()), 0);
    let codes = &mut memory[..x.len()];
    quantize::quantize(threads, x, scale, zero_point, &mut BytesMut::U8(codes))?;
    let scales: Vec<f32> = finish.scales.iter().map(|own| own * scale).collect();
    let mut output = Output::F32(Dequantize { scales: &scales, ..finish }, out);
    packed.run(threads, Bytes::U8(codes), zero_point, images, &mut output)?;
    CODES.set(memory);
    Ok(())
}

/// The sum of two tensors of codes as codes on a third grid.
pub(super) fn add(
    operands: &Operands<'_>,
    grids: &[Grid; 2],
    to: &Grid,
    clamp: [i32; 2],
    words: &mut [f32],
    len: usize,
    threads: &Threads,
) -> Result<(), EngineError> {
    let term = |index: usize| -> Result<Term<'_>, EngineError> {
        let grid = &grids[index];
        let codes = operands.bytes(index, grid.elem)?;
        Ok(Term { codes, zero_point: grid.zero_point, multiplier: grid.scale / to.scale })
    };
    let terms = [term(0)?, term(1)?];
    let mut out = bytes_mut(words, len, to.elem);
    let done = quantize::add(threads, terms, to.zero_point, clamp, &mut out);
    done.map_err(|source| operands.kernel_error(source))
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
