//! Products of two computed matrices, batched: attention and its kin.

use lissom_graph::ValueId;
use lissom_kernels::Activation;
use lissom_kernels::elementwise::Binary;

use super::{Builder, Layout, strides};
use crate::EngineError;
use crate::plan::step::{Elem, Kind, Products, Source};
use crate::plan::training::by_matrix;
use crate::plan::work::Op;

/// A value seen through strides.
pub(in crate::plan) struct Seen {
    pub source: Source,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl Builder<'_, '_> {
    /// A permutation that was put off costs nothing here.
    pub fn seen(&mut self, id: ValueId) -> Result<Seen, EngineError> {
        let shape = self.shape(id)?;
        let put_off =
            self.record(id).filter(|record| record.forms.is_empty()).and_then(|record| record.permuted.clone());
        let Some((from, perm)) = put_off else {
            return Ok(Seen { source: self.source(id, Layout::Plain)?, strides: strides(&shape), shape });
        };
        let own = strides(&self.shape(from)?);
        Ok(Seen {
            source: self.source(from, Layout::Plain)?,
            strides: perm.iter().map(|&axis| own[axis]).collect(),
            shape,
        })
    }

    pub fn products(&mut self, index: usize) -> Result<bool, EngineError> {
        let (Some(a), Some(b), Some(out)) = (self.input(index, 0), self.input(index, 1), self.output(index)) else {
            return Ok(false);
        };
        if self.elem(b) != Some(Elem::F32) {
            return Ok(false);
        }
        let (a, b) = (self.seen(a)?, self.seen(b)?);
        let rank = self.shape(out)?.len();
        let (a_rank, b_rank) = (a.shape.len(), b.shape.len());
        if a_rank < 2 || b_rank < 2 || rank != a_rank.max(b_rank) {
            return Ok(false);
        }
        if b_rank == 2 && by_matrix(self, index, &a, &b, out)? {
            return Ok(true);
        }
        let (scale, mut works, value) = self.scaled(out);
        let (value, out_strides) = self.transposed_result(value, &mut works)?;
        let out_shape = self.shape(out)?;
        let (m, n, k) = (out_shape[rank - 2], out_shape[rank - 1], a.shape[a_rank - 1]);
        let batch = &out_shape[..rank - 2];
        let offsets = offsets(batch, &[&steps(&a, batch), &steps(&b, batch), &out_strides[..rank - 2]]);
        let products = Products {
            m,
            k,
            n,
            a_strides: [a.strides[a_rank - 2], a.strides[a_rank - 1]],
            b_strides: [b.strides[b_rank - 2], b.strides[b_rank - 1]],
            out_stride: out_strides[rank - 2],
            offsets,
            scale,
            activation: Activation::None,
        };
        let info = self.info(index, &works, "gemm batched");
        let inputs = vec![a.source, b.source];
        let len = out_shape.iter().product();
        let made = self.emit(info, Kind::Products(Box::new(products)), inputs, len, Elem::F32);
        for work in works {
            self.is_done[work] = true;
        }
        self.set(value, Layout::Plain, made);
        Ok(true)
    }

    /// A scalar factor that follows; the factor, its work, and the value after it.
    fn scaled(&self, out: ValueId) -> (f32, Vec<usize>, ValueId) {
        let found = || {
            let next = self.network.only_consumer(out)?;
            let after = self.output(next)?;
            let factor = self.network.scalar(self.other(next, out)?)?;
            let scale = match self.network.works[next].op {
                Op::Binary(Binary::Mul) => factor,
                Op::Binary(Binary::Div) if self.input(next, 0) == Some(out) => 1.0 / factor,
                _ => return None,
            };
            let is_alike = self.network.shape(after) == self.network.shape(out);
            (is_alike && scale.is_finite()).then_some((scale, vec![next], after))
        };
        found().unwrap_or((1.0, Vec::new(), out))
    }

    /// A permutation that follows and leaves the last axis where it is: the strides that write its result.
    pub(super) fn transposed_result(
        &self,
        value: ValueId,
        works: &mut Vec<usize>,
    ) -> Result<(ValueId, Vec<usize>), EngineError> {
        let shape = self.shape(value)?;
        let found = || {
            let next = self.network.only_consumer(value)?;
            let Op::Transpose { perm } = &self.network.works[next].op else { return None };
            let after = self.output(next)?;
            let last = shape.len() - 1;
            // Rows must stay further apart than they are long.
            if perm.last() != Some(&last) {
                return None;
            }
            let own = strides(&self.network.shape(after)?);
            let mut moved = vec![0; shape.len()];
            perm.iter().zip(&own).for_each(|(&axis, &step)| moved[axis] = step);
            Some((next, after, moved))
        };
        Ok(match found() {
            Some((next, after, moved)) => {
                works.push(next);
                (after, moved)
            }
            None => (value, strides(&shape)),
        })
    }
}

/// Steps of an operand along the batch axes of the result; 0 where it is repeated.
pub(super) fn steps(seen: &Seen, batch: &[usize]) -> Vec<usize> {
    let own = seen.shape.len() - 2;
    let missing = batch.len() - own.min(batch.len());
    (0..batch.len())
        .map(|axis| match axis.checked_sub(missing) {
            Some(at) if seen.shape[at] != 1 => seen.strides[at],
            _ => 0,
        })
        .collect()
}

/// Offsets of every position of `batch` under each set of steps.
pub(super) fn offsets<const N: usize>(batch: &[usize], steps: &[&[usize]; N]) -> Vec<[usize; N]> {
    let count = batch.iter().product();
    let mut all = Vec::with_capacity(count);
    for index in 0..count {
        let mut rest = index;
        let mut at = [0; N];
        for axis in (0..batch.len()).rev() {
            let position = rest % batch[axis];
            rest /= batch[axis];
            for (at, steps) in at.iter_mut().zip(steps) {
                *at += position * steps[axis];
            }
        }
        all.push(at);
    }
    all
}
