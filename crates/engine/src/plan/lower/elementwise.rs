//! Functions of each element.

use lissom_graph::ValueId;
use lissom_kernels::elementwise::{Binary, Unary};
use lissom_tensor::Tensor;

use super::{Builder, Layout, in_memory, is_same_bytes, strides};
use crate::EngineError;
use crate::plan::step::{Elem, Inner, Kind, Source, Spread, Strides};
use crate::plan::training;
use crate::plan::work::Op;

impl Builder<'_, '_> {
    pub fn unary(&mut self, index: usize, op: Unary) -> Result<bool, EngineError> {
        if self.map(index)? {
            return Ok(true);
        }
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let layout = self.layout(x);
        let source = self.source(x, layout)?;
        let len = self.shape(out)?.iter().product();
        let info = self.info(index, &[], "elementwise");
        let made = self.emit(info, Kind::Unary(op), vec![source], len, Elem::F32);
        self.set(out, layout, made);
        Ok(true)
    }

    pub fn binary(&mut self, index: usize, op: Binary) -> Result<bool, EngineError> {
        let (Some(a), Some(b), Some(out)) = (self.input(index, 0), self.input(index, 1), self.output(index)) else {
            return Ok(false);
        };
        if (op == Binary::Mul && training::descent(self, index)?)
            || (op == Binary::Add && self.masked(index, a, b, out)?)
            || self.map(index)?
        {
            return Ok(true);
        }
        let shape = self.shape(out)?;
        let is_image = shape.len() >= 3 && !is_same_bytes(&shape);
        let prefers_last =
            |id: ValueId| self.layout(id) == Layout::Last && self.shape(id).is_ok_and(|s| s.len() == shape.len());
        let wants_last = is_image && (prefers_last(a) || prefers_last(b));
        let can_be_last = [a, b].iter().all(|&id| self.fits_last(id, shape.len()));
        let layout = if wants_last && can_be_last { Layout::Last } else { Layout::Plain };
        let out_memory = in_memory(&shape, layout);
        let (a, a_shape) = self.operand(a, shape.len(), layout)?;
        let (b, b_shape) = self.operand(b, shape.len(), layout)?;
        let info = self.info(index, &[], "elementwise");
        let (op, (first, first_shape), (second, second_shape)) = match (a_shape == out_memory, b_shape == out_memory) {
            (false, true) => (swapped(op), (b, b_shape), (a, a_shape)),
            _ => (op, (a, a_shape), (b, b_shape)),
        };
        let first = if first_shape == out_memory {
            first
        } else {
            let part = expand(&first_shape, &out_memory);
            let kind = Kind::Move { fill: None, parts: vec![part], elem: Elem::F32 };
            self.emit(info.clone(), kind, vec![first], out_memory.iter().product(), Elem::F32)
        };
        let kind = Kind::Binary { op, spread: spread(&out_memory, &second_shape) };
        let made = self.emit(info, kind, vec![first, second], out_memory.iter().product(), Elem::F32);
        self.set(out, layout, made);
        Ok(true)
    }

    /// The addition of a mask before softmax, which the softmax does on the way.
    fn masked(&mut self, index: usize, a: ValueId, b: ValueId, out: ValueId) -> Result<bool, EngineError> {
        let Some(next) = self.network.only_consumer(out) else { return Ok(false) };
        let shape = self.shape(out)?;
        match self.network.works[next].op {
            Op::Softmax { n, is_channels: false } if shape.last() == Some(&n) => {
                let (x, mask) = if self.shape(a)? == shape { (a, b) } else { (b, a) };
                self.masked_softmax(index, next, x, mask)
            }
            _ => Ok(false),
        }
    }

    /// True if the value, given leading axes of 1 up to `rank`, can be read with channels last.
    pub(super) fn fits_last(&self, id: ValueId, rank: usize) -> bool {
        let Some(shape) = self.network.shape(id) else { return false };
        shape.len() == rank || is_same_bytes(&padded(&shape, rank)) || self.network.is_constant(id)
    }

    /// The value with leading axes of 1 up to `rank`: where it is, and its shape there.
    pub(super) fn operand(
        &mut self,
        id: ValueId,
        rank: usize,
        layout: Layout,
    ) -> Result<(Source, Vec<usize>), EngineError> {
        let own = self.shape(id)?;
        let shape = padded(&own, rank);
        let memory = in_memory(&shape, layout);
        if layout == Layout::Plain || own.len() == rank {
            return Ok((self.source(id, layout)?, memory));
        }
        let source = self.source(id, Layout::Plain)?;
        if let (Source::Constant(tensor), false) = (&source, is_same_bytes(&shape)) {
            let moved = moved_last(tensor, &shape).ok_or_else(|| self.internal(id, "cannot be moved"))?;
            return Ok((Source::Constant(moved), memory));
        }
        Ok((source, memory))
    }
}

pub(super) fn padded(shape: &[usize], rank: usize) -> Vec<usize> {
    let mut padded = vec![1; rank.saturating_sub(shape.len())];
    padded.extend_from_slice(shape);
    padded
}

fn moved_last(tensor: &Tensor, shape: &[usize]) -> Option<Tensor> {
    let values = tensor.as_slice::<f32>().ok()?;
    let pixels = shape[2..].iter().product();
    let mut moved = vec![0.0; values.len()];
    let here = lissom_kernels::Threads::single();
    lissom_kernels::permute::transpose(&here, values, [shape[0], shape[1], pixels], &mut moved).ok()?;
    Tensor::new(in_memory(shape, Layout::Last), moved).ok()
}

pub(super) fn swapped(op: Binary) -> Binary {
    match op {
        Binary::Sub => Binary::SubFrom,
        Binary::Div => Binary::DivFrom,
        Binary::SubFrom => Binary::Sub,
        Binary::DivFrom => Binary::Div,
        other => other,
    }
}

/// A copy that repeats axes of 1 up to `to`.
pub(super) fn expand(from: &[usize], to: &[usize]) -> Strides {
    let own = strides(from);
    let from = from.iter().zip(own).map(|(&length, step)| if length == 1 { 0 } else { step }).collect();
    Strides { sizes: to.to_vec(), from, to: strides(to), from_start: 0, to_start: 0 }
}

/// How an operand of shape `b` spreads over `shape`; both have the same rank.
pub(super) fn spread(shape: &[usize], b: &[usize]) -> Spread {
    // Neighbouring axes along which `b` moves, or along which it does not, are one.
    let mut axes: Vec<(usize, bool)> = Vec::new();
    for (&length, &own) in shape.iter().zip(b).filter(|(length, _)| **length != 1) {
        let moves = own != 1;
        match axes.last_mut() {
            Some((merged, same)) if *same == moves => *merged *= length,
            _ => axes.push((length, moves)),
        }
    }
    let inner = match axes[..] {
        [] => return Spread { outer: Vec::new(), inner: Inner::Scalar { len: 1 } },
        [(len, true)] => Inner::Same { len },
        [(len, false)] => Inner::Scalar { len },
        [.., (rows, false), (len, true)] => Inner::Row { rows, len },
        [.., (rows, _), (len, _)] => Inner::Column { rows, len },
    };
    let n_inner = if matches!(inner, Inner::Row { .. } | Inner::Column { .. }) { 2 } else { 1 };
    let mut step = match inner {
        Inner::Row { len, .. } => len,
        Inner::Column { rows, .. } => rows,
        Inner::Same { .. } | Inner::Scalar { .. } => 1,
    };
    let mut outer = Vec::new();
    for &(count, moves) in axes[..axes.len() - n_inner].iter().rev() {
        outer.push((count, if moves { step } else { 0 }));
        if moves {
            step *= count;
        }
    }
    outer.reverse();
    Spread { outer, inner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_broadcasts_are_one_call() {
        assert_eq!(spread(&[2, 3, 4], &[2, 3, 4]), Spread { outer: vec![], inner: Inner::Same { len: 24 } });
        assert_eq!(spread(&[2, 3, 4], &[1, 1, 4]), Spread { outer: vec![], inner: Inner::Row { rows: 6, len: 4 } });
        assert_eq!(spread(&[2, 3, 4], &[2, 3, 1]), Spread { outer: vec![], inner: Inner::Column { rows: 6, len: 4 } });
        assert_eq!(spread(&[2, 3, 4], &[1, 1, 1]), Spread { outer: vec![], inner: Inner::Scalar { len: 24 } });
    }

    #[test]
    fn a_gate_by_image_and_channel_loops_over_images() {
        let gate = spread(&[2, 7, 7, 5], &[2, 1, 1, 5]);
        assert_eq!(gate, Spread { outer: vec![(2, 5)], inner: Inner::Row { rows: 49, len: 5 } });
        let mixed = spread(&[2, 3, 4, 5], &[1, 3, 1, 5]);
        assert_eq!(mixed, Spread { outer: vec![(2, 0), (3, 5)], inner: Inner::Row { rows: 4, len: 5 } });
    }
}
