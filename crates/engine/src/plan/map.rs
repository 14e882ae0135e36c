//! Runs a chain of functions of each element: a block at a time goes through all of them while it is in the nearest cache.

use std::cell::RefCell;

use lissom_kernels::elementwise::{self, Binary, Operand};
use lissom_kernels::quantize::{self, Bytes, BytesMut};
use lissom_kernels::rows::{self, LayerNorm};
use lissom_kernels::{ShapeError, Threads};

use super::operands::{Operands, bytes_mut};
use super::quantized::limits;
use super::step::{Grid, Link, Map, Norm, Side};
use crate::EngineError;

thread_local! {
    /// A block on its way, and an operand of it.
    static BLOCKS: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// An operand as it is in memory.
#[derive(Clone, Copy)]
enum Values<'a> {
    Real(&'a [f32]),
    Codes(Bytes<'a>, Grid),
}

/// A map and its operands.
struct Chain<'a> {
    map: &'a Map,
    /// `None` if a block begins as what is in its place.
    x: Option<Values<'a>>,
    /// Those of the binary links, in order.
    sides: Vec<Values<'a>>,
}

/// Runs `map`; `words` is the target.
pub(super) fn map(
    operands: &Operands<'_>,
    map: &Map,
    words: &mut [f32],
    len: usize,
    threads: &Threads,
) -> Result<(), EngineError> {
    let chain = chain(operands, map, len)?;
    let block = map.block;
    match map.to {
        None => threads.run_chunks(&mut words[..len], block, |index, out| {
            BLOCKS.with_borrow_mut(|[_, other]| chain.block(index * block, out, other));
        }),
        Some(grid) => {
            let coded = |index: usize, out: &mut BytesMut<'_>| {
                BLOCKS.with_borrow_mut(|[real, other]| {
                    real.resize(real.len().max(block), 0.0);
                    let real = &mut real[..out.len()];
                    chain.block(index * block, real, other);
                    // As long as each other, so no kernel refuses.
                    let _ = quantize::quantize(&Threads::single(), real, grid.scale, grid.zero_point, out);
                });
            };
            match bytes_mut(words, len, grid.elem) {
                BytesMut::U8(out) => threads.run_chunks(out, block, |at, out| coded(at, &mut BytesMut::U8(out))),
                BytesMut::I8(out) => threads.run_chunks(out, block, |at, out| coded(at, &mut BytesMut::I8(out))),
            }
        }
    }
    Ok(())
}

/// Finds the operands and checks their lengths.
fn chain<'a>(operands: &Operands<'a>, map: &'a Map, len: usize) -> Result<Chain<'a>, EngineError> {
    let expect = |what: &'static str, got: usize, expected: usize| {
        ShapeError::expect(what, got, expected).map_err(|source| operands.kernel_error(source))
    };
    let x = match map.from {
        _ if operands.step.is_in_place => None,
        None => Some(Values::Real(operands.f32(0)?)),
        Some(grid) => Some(Values::Codes(operands.bytes(0, grid.elem)?, grid)),
    };
    expect("x", x.map_or(len, |x| x.len()), len)?;
    let mut sides = Vec::new();
    for link in &map.links {
        match *link {
            Link::Binary { input, side, .. } => {
                let values = match side {
                    Side::Codes(grid) => Values::Codes(operands.bytes(input, grid.elem)?, grid),
                    _ => Values::Real(operands.f32(input)?),
                };
                match side {
                    Side::Scalar => expect("a scalar", values.len(), 1)?,
                    Side::Row => expect("the rest of a row", map.block % values.len().max(1), 0)?,
                    Side::Same | Side::Codes(_) => expect("an operand", values.len(), len)?,
                }
                sides.push(values);
            }
            Link::LayerNorm(ref norm) => expect("the rest of a row", map.block % norm.n.max(1), 0)?,
            Link::Unary(_) | Link::Round(_) => {}
        }
    }
    Ok(Chain { map, x, sides })
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Real(values) => values.len(),
            Self::Codes(codes, _) => codes.len(),
        }
    }
}

impl Chain<'_> {
    /// Elements from `start` on as real numbers. Lengths were checked, so no kernel refuses.
    fn block(&self, start: usize, out: &mut [f32], other: &mut Vec<f32>) {
        let mut sides = self.sides.iter().copied();
        let mut links = self.map.links.as_slice();
        match self.x {
            None => {}
            Some(Values::Real(x)) => {
                links = self.first(&x[start..start + out.len()], start, out, &mut sides);
            }
            Some(Values::Codes(codes, grid)) => {
                let codes = part(codes, start, out.len());
                if let [Link::Binary { op: Binary::Add, side: Side::Row, .. }, rest @ ..] = links
                    && let Some(Values::Real(row)) = sides.clone().next()
                {
                    let _ = quantize::dequantize_add_row(codes, grid.scale, grid.zero_point, row, out);
                    (links, _) = (rest, sides.next());
                } else {
                    let _ = quantize::dequantize(&Threads::single(), codes, grid.scale, grid.zero_point, out);
                }
            }
        }
        for link in links {
            self.link(link, start, out, other, &mut sides);
        }
    }

    /// The first link, from `x` to `out`; gives the others.
    fn first<'c>(
        &'c self,
        x: &[f32],
        start: usize,
        out: &mut [f32],
        sides: &mut impl Iterator<Item = Values<'c>>,
    ) -> &'c [Link] {
        let here = Threads::single();
        match self.map.links.as_slice() {
            [Link::Unary(op), rest @ ..] => {
                let _ = elementwise::unary(&here, *op, x, out);
                rest
            }
            [Link::Binary { op, side: side @ (Side::Scalar | Side::Row | Side::Same), .. }, rest @ ..] => {
                if let Some(Values::Real(values)) = sides.next() {
                    let _ = elementwise::binary(&here, *op, x, operand(*side, values, start, x.len()), out);
                }
                rest
            }
            [Link::LayerNorm(norm), rest @ ..] => {
                let _ = rows::layer_norm(&here, x, norm.n, None, &layer_norm(norm), out);
                rest
            }
            links => {
                out.copy_from_slice(x);
                links
            }
        }
    }

    fn link<'c>(
        &'c self,
        link: &Link,
        start: usize,
        out: &mut [f32],
        other: &mut Vec<f32>,
        sides: &mut impl Iterator<Item = Values<'c>>,
    ) {
        let here = Threads::single();
        let _ = match link {
            Link::Unary(op) => {
                elementwise::unary_in_place(&here, *op, out);
                Ok(())
            }
            Link::Round(grid) => {
                quantize::round(out, grid.scale, grid.zero_point, limits(grid.elem));
                Ok(())
            }
            Link::LayerNorm(norm) => rows::layer_norm_in_place(&here, out, norm.n, &layer_norm(norm)),
            Link::Binary { op, side, .. } => match sides.next() {
                Some(Values::Real(values)) => {
                    let operand = operand(*side, values, start, out.len());
                    elementwise::binary_in_place(&here, *op, out, operand)
                }
                Some(Values::Codes(codes, grid)) => {
                    let codes = part(codes, start, out.len());
                    if *op == Binary::Add {
                        quantize::add_dequantized(out, codes, grid.scale, grid.zero_point)
                    } else {
                        other.resize(other.len().max(out.len()), 0.0);
                        let other = &mut other[..out.len()];
                        quantize::dequantize(&here, codes, grid.scale, grid.zero_point, other)
                            .and_then(|()| elementwise::binary_in_place(&here, *op, out, Operand::Same(other)))
                    }
                }
                None => Ok(()),
            },
        };
    }
}

fn operand(side: Side, values: &[f32], start: usize, len: usize) -> Operand<'_> {
    match side {
        Side::Scalar => Operand::Scalar(values[0]),
        Side::Row => Operand::Row(values),
        Side::Same | Side::Codes(_) => Operand::Same(&values[start..start + len]),
    }
}

fn part(codes: Bytes<'_>, start: usize, len: usize) -> Bytes<'_> {
    match codes {
        Bytes::U8(x) => Bytes::U8(&x[start..start + len]),
        Bytes::I8(x) => Bytes::I8(&x[start..start + len]),
    }
}

/// As the kernel takes it.
pub(super) fn layer_norm(norm: &Norm) -> LayerNorm<'_> {
    LayerNorm { scale: norm.scale.as_deref(), bias: norm.bias.as_deref(), epsilon: norm.epsilon }
}
