//! Chains of functions of each element, or of each row, become one step.

use lissom_graph::ValueId;
use lissom_kernels::Activation;
use lissom_kernels::elementwise::Binary;

use super::elementwise::{padded, spread, swapped};
use super::epilogue::activation_of;
use super::{Builder, Layout, in_memory, is_same_bytes};
use crate::EngineError;
use crate::plan::quantized::clamp;
use crate::plan::step::{Elem, Grid, Inner, Kind, Link, Map, Norm, Side};
use crate::plan::work::Op;

/// Elements of a block, unless a row is longer: with the operands of a few links they stay in the nearest cache.
const BLOCK: usize = 4096;
/// Elements of the longest row that one task takes.
const MAX_ROW: usize = 16384;

/// A chain before anything is emitted for it.
struct Draft {
    x: ValueId,
    layout: Layout,
    shape: Vec<usize>,
    links: Vec<Link>,
    /// The second operands, in the order of the links that have one.
    sides: Vec<ValueId>,
    to: Option<Grid>,
    /// Elements of the longest row of a link.
    row: usize,
    /// What the chain makes so far.
    value: ValueId,
    works: Vec<usize>,
}

impl Builder<'_, '_> {
    /// Work and what follows it, as far as nobody else sees what is between. False if that is no more than the work itself.
    pub fn map(&mut self, index: usize) -> Result<bool, EngineError> {
        let Some(mut draft) = self.draft(index)? else { return Ok(false) };
        let mut next = Some(index);
        while let Some(work) = next {
            next = if self.extend(&mut draft, work) { self.network.only_consumer(draft.value) } else { None };
        }
        let n_parts = draft.links.len() + usize::from(draft.to.is_some()) + usize::from(self.is_codes(draft.x));
        if draft.links.is_empty() || n_parts < 2 {
            return Ok(false);
        }
        self.emit_map(draft)?;
        Ok(true)
    }

    fn draft(&self, index: usize) -> Result<Option<Draft>, EngineError> {
        let (Some(first), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(None) };
        let shape = self.shape(out)?;
        let is_whole = |id: ValueId| {
            self.network.shape(id).as_deref() == Some(&shape[..])
                && self.network.is_f32(id)
                && !self.network.is_constant(id)
        };
        let (x, other) = match self.network.works[index].op {
            // Codes come first: reading them is part of the step.
            Op::Binary(_) => match self.input(index, 1) {
                Some(b) if is_whole(b) && (!is_whole(first) || (self.is_codes(b) && !self.is_codes(first))) => {
                    (b, first)
                }
                Some(b) => (first, b),
                None => return Ok(None),
            },
            _ => (first, first),
        };
        let is_image = shape.len() >= 3 && !is_same_bytes(&shape);
        let prefers_last = self.layout(other) == Layout::Last && self.shape(other)?.len() == shape.len();
        let layout = if is_image && prefers_last { Layout::Last } else { self.layout(x) };
        let (links, sides, works) = (Vec::new(), Vec::new(), Vec::new());
        let draft = Draft { x, layout, shape: shape.clone(), links, sides, to: None, row: 1, value: x, works };
        Ok(is_whole(x).then_some(draft))
    }

    /// True if the value is there as codes.
    fn is_codes(&self, id: ValueId) -> bool {
        self.record(id).is_some_and(|record| record.codes.is_some())
    }

    /// Adds work to the chain, if it fits.
    fn extend(&self, draft: &mut Draft, work: usize) -> bool {
        let Some(out) = self.output(work).filter(|_| !self.is_done[work] || draft.works.is_empty()) else {
            return false;
        };
        if draft.to.is_some() || self.network.shape(out).as_deref() != Some(&draft.shape[..]) {
            return false;
        }
        let is_added = match self.network.works[work].op {
            Op::Unary(op) => {
                draft.links.push(Link::Unary(op));
                true
            }
            Op::Binary(op) => self.extend_binary(draft, work, op),
            Op::LayerNorm { n, epsilon } => self.extend_norm(draft, work, n, epsilon),
            Op::Quantize { grid } if self.input(work, 0) == Some(draft.value) => {
                if self.extend_round(draft, work, out, grid) {
                    return true;
                }
                draft.to = Some(grid);
                true
            }
            _ => false,
        };
        if is_added {
            draft.value = out;
            draft.works.push(work);
        }
        is_added
    }

    /// To codes and back, if the chain goes on after it.
    fn extend_round(&self, draft: &mut Draft, work: usize, codes: ValueId, grid: Grid) -> bool {
        let found = || {
            let dequantize = self.network.only_consumer(codes)?;
            let value = self.output(dequantize)?;
            let is_same = matches!(self.network.works[dequantize].op, Op::Dequantize { grid: own } if own == grid);
            Some((dequantize, value, self.network.only_consumer(value)?)).filter(|_| is_same)
        };
        let Some((dequantize, value, next)) = found() else { return false };
        let is_quantize = matches!(self.network.works[next].op, Op::Quantize { .. });
        let before = (draft.links.len(), draft.works.len(), draft.value);
        draft.links.push(Link::Round(grid));
        draft.works.extend([work, dequantize]);
        draft.value = value;
        if !is_quantize && self.extend(draft, next) {
            return true;
        }
        draft.links.truncate(before.0);
        draft.works.truncate(before.1);
        draft.value = before.2;
        false
    }

    fn extend_binary(&self, draft: &mut Draft, work: usize, op: Binary) -> bool {
        let Some(other) = self.other(work, draft.value) else { return false };
        let op = if self.input(work, 0) == Some(draft.value) { op } else { swapped(op) };
        let Some((side, row)) = self.side(draft, other) else { return false };
        draft.links.push(Link::Binary { op, input: draft.sides.len() + 1, side });
        draft.sides.push(other);
        draft.row = draft.row.max(row);
        true
    }

    /// How a second operand spreads over the chain, and the length of its row.
    fn side(&self, draft: &Draft, id: ValueId) -> Option<(Side, usize)> {
        let own = self.network.shape(id)?;
        let rank = draft.shape.len();
        let is_fit = self.network.is_f32(id)
            && own.len() <= rank
            && (draft.layout == Layout::Plain || self.fits_last(id, rank))
            && self.can_be_ready(id);
        if !is_fit {
            return None;
        }
        let memory = in_memory(&draft.shape, draft.layout);
        let spread = spread(&memory, &in_memory(&padded(&own, rank), draft.layout));
        match spread.inner {
            _ if !spread.outer.is_empty() => None,
            Inner::Same { .. } => match self.coming_grid(id) {
                Some(grid) => Some((Side::Codes(grid), 1)),
                None => Some((Side::Same, 1)),
            },
            Inner::Scalar { .. } => Some((Side::Scalar, 1)),
            Inner::Row { len, .. } if len <= MAX_ROW => Some((Side::Row, len)),
            Inner::Row { .. } | Inner::Column { .. } => None,
        }
    }

    /// True if a step added now can read the value, possibly after a dequantization that comes later in the graph.
    fn can_be_ready(&self, id: ValueId) -> bool {
        self.is_ready(id) || self.early_dequantize(id).is_some()
    }

    /// The dequantization that makes the value and could be planned now.
    fn early_dequantize(&self, id: ValueId) -> Option<usize> {
        let work = self.network.producers[id.index()].filter(|&work| !self.is_done[work] && !self.is_ready(id))?;
        let Op::Dequantize { .. } = self.network.works[work].op else { return None };
        self.input(work, 0).is_some_and(|codes| self.is_ready(codes)).then_some(work)
    }

    /// The grid of a value that is, or will be, codes.
    fn coming_grid(&self, id: ValueId) -> Option<Grid> {
        if let Some(work) = self.early_dequantize(id)
            && let Op::Dequantize { grid } = self.network.works[work].op
        {
            return Some(grid);
        }
        self.record(id)?.codes.as_ref().map(|(_, grid)| *grid)
    }

    fn extend_norm(&self, draft: &mut Draft, work: usize, n: usize, epsilon: f32) -> bool {
        let is_fit = n <= MAX_ROW && (draft.layout == Layout::Plain || is_same_bytes(&draft.shape));
        let is_first = self.input(work, 0) == Some(draft.value);
        let Some(norm) = self.norm(work, n, epsilon).filter(|_| is_fit && is_first) else { return false };
        draft.links.push(Link::LayerNorm(norm));
        draft.row = draft.row.max(n);
        true
    }

    /// The layer norm, if scale and bias are rows.
    pub(super) fn norm(&self, work: usize, n: usize, epsilon: f32) -> Option<Norm> {
        let part = |position: usize| match self.input(work, position) {
            None => Some(None),
            Some(id) => self.network.floats(id).filter(|values| values.len() == n).map(Some),
        };
        Some(Norm { n, scale: part(1)?, bias: part(2)?, epsilon })
    }

    fn emit_map(&mut self, draft: Draft) -> Result<(), EngineError> {
        let Draft { x, layout, shape, links, sides, to, row, value, works } = draft;
        let rank = shape.len();
        let mut from = None;
        let mut inputs = Vec::new();
        if self.is_codes(x)
            && let Some((source, grid)) = self.codes(x, layout)?
        {
            from = Some(grid);
            inputs.push(source);
        } else {
            inputs.push(self.source(x, layout)?);
        }
        let spreads =
            links.iter().filter_map(|link| if let Link::Binary { side, .. } = link { Some(*side) } else { None });
        for (&id, side) in sides.iter().zip(spreads) {
            if let Some(work) = self.early_dequantize(id) {
                self.work(work)?;
            }
            let source = match side {
                Side::Codes(_) => self.codes(id, layout)?.map(|(source, _)| source),
                _ => Some(self.operand(id, rank, layout)?.0),
            };
            inputs.push(source.ok_or_else(|| self.internal(id, "has no codes"))?);
        }
        let len: usize = shape.iter().product();
        let has_norm = links.iter().any(|link| matches!(link, Link::LayerNorm(_)));
        let info = self.info(works[0], &works[1..], if has_norm { "layer norm" } else { "elementwise" });
        let kind = match coded_sum(from, &links, to) {
            Some(sum) => sum,
            None => Kind::Map(Box::new(Map { from, links, to, block: block(len, row) })),
        };
        let made = self.emit(info, kind, inputs, len, to.map_or(Elem::F32, |grid| grid.elem));
        works.iter().for_each(|&work| self.is_done[work] = true);
        self.set(value, layout, made);
        Ok(())
    }
}

/// The sum of codes as codes has a kernel of its own, which may end in a clamp.
fn coded_sum(from: Option<Grid>, links: &[Link], to: Option<Grid>) -> Option<Kind> {
    let (from, to) = (from?, to?);
    let [Link::Binary { op: Binary::Add, side: Side::Codes(other), .. }, rest @ ..] = links else { return None };
    let activation = match rest {
        [] => Activation::None,
        [Link::Unary(op)] => activation_of(*op),
        _ => return None,
    };
    Some(Kind::QAdd { grids: [from, *other], to, clamp: clamp(activation, &to)? })
}

/// Elements of a block: whole rows, about [`BLOCK`], and a number of blocks that a few threads can share evenly.
fn block(len: usize, row: usize) -> usize {
    let rows = len.div_ceil(row);
    let n_blocks = rows.div_ceil((BLOCK / row).max(1));
    let n_blocks = if n_blocks > 1 { n_blocks.next_multiple_of(4) } else { 1 };
    rows.div_ceil(n_blocks).max(1) * row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_rows_and_share_evenly() {
        assert_eq!(block(128 * 384, 384), 8 * 384);
        assert_eq!(block(128 * 1536, 1536), 2 * 1536);
        assert_eq!(block(3 * 16384, 16384), 16384);
        assert_eq!(block(1, 1), 1);
        assert!(block(1 << 20, 1) <= BLOCK);
    }
}
