//! Elements that only change places.

use lissom_graph::OpError;
use lissom_kernels::quantize::{Bytes, BytesMut};
use lissom_kernels::{ShapeError, Threads};

use super::operands::{Operands, bytes_mut};
use super::step::{Elem, Strides};
use crate::EngineError;

/// Elements that a task gathers.
const GATHERED: usize = 4096;

/// Copies each part to its place; what no part covers is `fill`.
pub(super) fn moves(
    operands: &Operands<'_>,
    parts: &[Strides],
    fill: Option<f32>,
    elem: Elem,
    words: &mut [f32],
    len: usize,
) -> Result<(), EngineError> {
    match bytes_or_floats(elem, words, len) {
        Ok(out) => {
            if let Some(fill) = fill {
                out.fill(fill);
            }
            for (index, part) in parts.iter().enumerate() {
                move_part(operands, operands.f32(index)?, part, out)?;
            }
        }
        Err(BytesMut::U8(out)) => {
            if let Some(fill) = fill {
                out.fill(fill as u8);
            }
            for (index, part) in parts.iter().enumerate() {
                if let Bytes::U8(x) = operands.bytes(index, elem)? {
                    move_part(operands, x, part, out)?;
                }
            }
        }
        Err(BytesMut::I8(out)) => {
            if let Some(fill) = fill {
                out.fill(fill as i8);
            }
            for (index, part) in parts.iter().enumerate() {
                if let Bytes::I8(x) = operands.bytes(index, elem)? {
                    move_part(operands, x, part, out)?;
                }
            }
        }
    }
    Ok(())
}

fn bytes_or_floats(elem: Elem, words: &mut [f32], len: usize) -> Result<&mut [f32], BytesMut<'_>> {
    if elem == Elem::F32 { Ok(words) } else { Err(bytes_mut(words, len, elem)) }
}

fn move_part<T: Copy>(operands: &Operands<'_>, x: &[T], part: &Strides, out: &mut [T]) -> Result<(), EngineError> {
    let rank = part.sizes.len();
    let reach = |steps: &[usize], start: usize| {
        start + part.sizes.iter().zip(steps).map(|(&size, &step)| size.saturating_sub(1) * step).sum::<usize>() + 1
    };
    if part.sizes.contains(&0) {
        return Ok(());
    }
    if reach(&part.from, part.from_start) > x.len() || reach(&part.to, part.to_start) > out.len() {
        return Err(operands.error(OpError::value("a copy leaves its tensor")));
    }
    let Some(last) = rank.checked_sub(1) else {
        out[part.to_start] = x[part.from_start];
        return Ok(());
    };
    let (n, from_step, to_step) = (part.sizes[last], part.from[last], part.to[last]);
    let mut at = vec![0; last];
    loop {
        let from = part.from_start + at.iter().zip(&part.from).map(|(at, step)| at * step).sum::<usize>();
        let to = part.to_start + at.iter().zip(&part.to).map(|(at, step)| at * step).sum::<usize>();
        match (from_step, to_step) {
            (1, 1) => out[to..to + n].copy_from_slice(&x[from..from + n]),
            (0, 1) => out[to..to + n].fill(x[from]),
            _ => (0..n).for_each(|i| out[to + i * to_step] = x[from + i * from_step]),
        }
        let mut axis = last;
        loop {
            if axis == 0 {
                return Ok(());
            }
            axis -= 1;
            at[axis] += 1;
            if at[axis] < part.sizes[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
}

/// Rows of the first input, at the positions that the second one says.
pub(super) fn gather(
    operands: &Operands<'_>,
    [outer, length, inner]: [usize; 3],
    out: &mut [f32],
    threads: &Threads,
) -> Result<(), EngineError> {
    let data = operands.f32(0)?;
    let indices = operands.integers(1)?;
    ShapeError::expect("data", data.len(), outer * length * inner).map_err(|source| operands.kernel_error(source))?;
    let row = |index: i64| if index < 0 { index + length as i64 } else { index };
    if let Some(index) = indices.iter().find(|&&index| !(0..length as i64).contains(&row(index))) {
        let reason = format!("index {index} is outside of an axis of {length}");
        return Err(operands.error(OpError::value(reason)));
    }
    let inner = inner.max(1);
    let rows_a_task = (GATHERED / inner).max(1);
    let n = indices.len().max(1);
    threads.run_chunks(out, rows_a_task * inner, |task, out| {
        for (at, to) in out.chunks_exact_mut(inner).enumerate() {
            let at = task * rows_a_task + at;
            if let Some(&index) = indices.get(at % n) {
                to.copy_from_slice(&data[(at / n * length + row(index) as usize) * inner..][..inner]);
            }
        }
    });
    Ok(())
}
