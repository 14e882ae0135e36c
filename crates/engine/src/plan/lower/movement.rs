//! Elements that only change places. Codes move as codes.

use lissom_graph::ValueId;

use super::elementwise::expand;
use super::{Builder, Forms, Layout, Record, in_memory, strides};
use crate::EngineError;
use crate::plan::step::{Elem, Grid, Kind, Source, StepInfo, Strides};
use crate::plan::work::Op;

impl Builder<'_, '_> {
    /// The value as it is cheapest to move: its codes if it is nothing else yet.
    fn movable(&mut self, id: ValueId, layout: Layout) -> Result<(Source, Elem, Option<Grid>), EngineError> {
        if self.grid(id).is_some()
            && let Some((source, grid)) = self.codes(id, layout)?
        {
            return Ok((source, grid.elem, Some(grid)));
        }
        let elem = self.elem(id).ok_or_else(|| self.internal(id, "has no kernels for its type"))?;
        Ok((self.source(id, layout)?, elem, None))
    }

    fn set_moved(&mut self, id: ValueId, layout: Layout, source: Source, grid: Option<Grid>) {
        match grid {
            Some(grid) => {
                self.set_record(id, Record { codes: Some((Forms::at(layout, source), grid)), ..Record::default() });
            }
            None => self.set(id, layout, source),
        }
    }

    pub fn view(&mut self, index: usize) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        if self.shape(x)?.iter().product::<usize>() != self.shape(out)?.iter().product() {
            return Ok(false);
        }
        let (source, _, grid) = self.movable(x, Layout::Plain)?;
        self.set_moved(out, Layout::Plain, source, grid);
        Ok(true)
    }

    pub fn transpose(&mut self, index: usize, perm: &[usize]) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let rank = perm.len();
        let shape = self.shape(x)?;
        let is_to_last =
            rank >= 3 && perm[0] == 0 && perm[rank - 1] == 1 && perm[1..rank - 1].iter().copied().eq(2..rank);
        let is_to_first = rank >= 3 && perm[0] == 0 && perm[1] == rank - 1 && perm[2..].iter().copied().eq(1..rank - 1);
        if is_to_last && self.layout(x) == Layout::Last {
            let (source, _, grid) = self.movable(x, Layout::Last)?;
            self.set_moved(out, Layout::Plain, source, grid);
            return Ok(true);
        }
        if is_to_first {
            let (source, _, grid) = self.movable(x, Layout::Plain)?;
            self.set_moved(out, Layout::Last, source, grid);
            return Ok(true);
        }
        if self.grid(x).is_none() || self.is_for_attention(out) {
            // A permutation of a permutation is one.
            let (from, perm) = match self.record(x) {
                Some(Record { permuted: Some((from, first)), forms, .. }) if forms.is_empty() => {
                    (*from, perm.iter().map(|&axis| first[axis]).collect())
                }
                _ => (x, perm.to_vec()),
            };
            self.set_record(out, Record { permuted: Some((from, perm)), ..Record::default() });
            return Ok(true);
        }
        let (source, elem, grid) = self.movable(x, Layout::Plain)?;
        let kind = Kind::Permute { shape: shape.clone(), perm: perm.to_vec(), elem };
        let info = self.info(index, &[], "permute");
        let made = self.emit(info, kind, vec![source], shape.iter().product(), elem);
        self.set_moved(out, Layout::Plain, made, grid);
        Ok(true)
    }

    /// True if only attention sees the value, which reads it in any order.
    fn is_for_attention(&self, mut id: ValueId) -> bool {
        while let Some(next) = self.network.only_consumer(id) {
            match (&self.network.works[next].op, self.output(next)) {
                (Op::Transpose { .. }, Some(after)) => id = after,
                (op, _) => return matches!(op, Op::Attention(_)),
            }
        }
        false
    }

    pub fn concat(&mut self, index: usize, axis: usize) -> Result<bool, EngineError> {
        let Some(out) = self.output(index) else { return Ok(false) };
        let parts: Vec<ValueId> = self.network.works[index].inputs.iter().flatten().copied().collect();
        let shape = self.shape(out)?;
        let wants_last = parts.iter().any(|&id| self.layout(id) == Layout::Last);
        let layout = if wants_last && shape.len() >= 3 { Layout::Last } else { Layout::Plain };
        let grid = parts.first().and_then(|&id| self.grid(id));
        let grid = grid.filter(|grid| parts.iter().all(|&id| self.grid(id) == Some(*grid)));
        let at = axis_in_memory(axis, shape.len(), layout);
        let memory = in_memory(&shape, layout);
        let to = strides(&memory);
        let (mut sources, mut moves, mut start) = (Vec::new(), Vec::new(), 0);
        for id in parts {
            let own = in_memory(&self.shape(id)?, layout);
            let source = match grid {
                Some(_) => self.codes(id, layout)?.map(|(source, _)| source),
                None => Some(self.source(id, layout)?),
            };
            sources.push(source.ok_or_else(|| self.internal(id, "has no codes"))?);
            let part =
                Strides { from: strides(&own), sizes: own, to: to.clone(), from_start: 0, to_start: start * to[at] };
            start += part.sizes[at];
            moves.push(simplified(part));
        }
        if start != memory[at] {
            return Ok(false);
        }
        let Some(elem) = grid.map(|grid| grid.elem).or_else(|| self.elem(out)) else { return Ok(false) };
        let info = self.info(index, &[], "copy");
        let made =
            self.emit(info, Kind::Move { fill: None, parts: moves, elem }, sources, shape.iter().product(), elem);
        self.set_moved(out, layout, made, grid);
        Ok(true)
    }

    pub fn slice(&mut self, index: usize, starts: &[usize], by: &[usize]) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let info = self.info(index, &[], "copy");
        self.part(x, out, starts, by, info)
    }

    pub fn split(&mut self, index: usize, axis: usize) -> Result<bool, EngineError> {
        let Some(x) = self.input(index, 0) else { return Ok(false) };
        let outputs: Vec<ValueId> = self.network.works[index].outputs.iter().flatten().copied().collect();
        let rank = self.shape(x)?.len();
        let mut starts = vec![0; rank];
        for out in outputs {
            let info = self.info(index, &[], "copy");
            if !self.part(x, out, &starts, &vec![1; rank], info)? {
                return Ok(false);
            }
            starts[axis] += self.shape(out)?[axis];
        }
        Ok(true)
    }

    /// `out` is every `by`-th element of `x` from `starts` on.
    fn part(
        &mut self,
        x: ValueId,
        out: ValueId,
        starts: &[usize],
        by: &[usize],
        info: StepInfo,
    ) -> Result<bool, EngineError> {
        let (shape, out_shape) = (self.shape(x)?, self.shape(out)?);
        if shape.len() != out_shape.len() {
            return Ok(false);
        }
        let layout = self.layout(x);
        let (source, elem, grid) = self.movable(x, layout)?;
        let own = strides(&in_memory(&shape, layout));
        let (starts, by) = (in_memory(starts, layout), in_memory(by, layout));
        let sizes = in_memory(&out_shape, layout);
        let part = Strides {
            from: own.iter().zip(&by).map(|(step, by)| step * by).collect(),
            to: strides(&sizes),
            from_start: own.iter().zip(&starts).map(|(step, start)| step * start).sum(),
            to_start: 0,
            sizes,
        };
        let kind = Kind::Move { fill: None, parts: vec![simplified(part)], elem };
        let made = self.emit(info, kind, vec![source], out_shape.iter().product(), elem);
        self.set_moved(out, layout, made, grid);
        Ok(true)
    }

    pub fn pad(&mut self, index: usize, begin: &[usize], value: f32) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let (shape, out_shape) = (self.shape(x)?, self.shape(out)?);
        if let Some(pads) = self.conv_pads(out, begin, value, &shape, &out_shape) {
            self.set_record(out, Record { padded: Some((x, pads)), ..Record::default() });
            return Ok(true);
        }
        let layout = self.layout(x);
        let source = self.source(x, layout)?;
        let memory = in_memory(&out_shape, layout);
        let (own, to) = (in_memory(&shape, layout), strides(&memory));
        let begin = in_memory(begin, layout);
        let to_start = begin.iter().zip(&to).map(|(begin, step)| begin * step).sum();
        let part = Strides { from: strides(&own), sizes: own, to, from_start: 0, to_start };
        let kind = Kind::Move { fill: Some(value), parts: vec![part], elem: Elem::F32 };
        let info = self.info(index, &[], "copy");
        let made = self.emit(info, kind, vec![source], out_shape.iter().product(), Elem::F32);
        self.set(out, layout, made);
        Ok(true)
    }

    /// Padding that the only user, a convolution, can do itself.
    fn conv_pads(
        &self,
        out: ValueId,
        begin: &[usize],
        value: f32,
        shape: &[usize],
        to: &[usize],
    ) -> Option<[usize; 4]> {
        let next = self.network.only_consumer(out)?;
        let is_conv = matches!(self.network.works[next].op, Op::Conv { .. }) && self.input(next, 0) == Some(out);
        let is_spatial = shape[..2] == to[..2];
        if value != 0.0 || !is_conv || !is_spatial {
            return None;
        }
        let mut pads = [0; 4];
        let first = 4 - shape.len();
        for axis in 2..shape.len() {
            let at = axis - 2 + first;
            pads[at] = begin[axis];
            pads[at + 2] = to[axis].checked_sub(shape[axis] + begin[axis])?;
        }
        Some(pads)
    }

    pub fn expand(&mut self, index: usize) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let (own, shape) = (self.shape(x)?, self.shape(out)?);
        let Some(missing) = shape.len().checked_sub(own.len()) else { return Ok(false) };
        let mut padded = vec![1; missing];
        padded.extend(&own);
        let source = self.source(x, Layout::Plain)?;
        let info = self.info(index, &[], "copy");
        let kind = Kind::Move { fill: None, parts: vec![simplified(expand(&padded, &shape))], elem: Elem::F32 };
        let made = self.emit(info, kind, vec![source], shape.iter().product(), Elem::F32);
        self.set(out, Layout::Plain, made);
        Ok(true)
    }

    pub fn gather(&mut self, index: usize, axis: usize) -> Result<bool, EngineError> {
        let (Some(data), Some(indices), Some(out)) = (self.input(index, 0), self.input(index, 1), self.output(index))
        else {
            return Ok(false);
        };
        let shape = self.shape(data)?;
        let outer = shape[..axis].iter().product();
        let inner = shape[axis + 1..].iter().product();
        let inputs = vec![self.source(data, Layout::Plain)?, self.tensor(indices)?];
        let info = self.info(index, &[], "copy");
        let kind = Kind::Gather { outer, length: shape[axis], inner };
        let made = self.emit(info, kind, inputs, self.shape(out)?.iter().product(), Elem::F32);
        self.set(out, Layout::Plain, made);
        Ok(true)
    }
}

fn axis_in_memory(axis: usize, rank: usize, layout: Layout) -> usize {
    match (layout, axis) {
        (Layout::Plain, _) | (_, 0) => axis,
        (Layout::Last, 1) => rank - 1,
        (Layout::Last, _) => axis - 1,
    }
}

/// Drops axes of 1 and joins axes that lie side by side on both sides.
fn simplified(part: Strides) -> Strides {
    let mut joined = Strides { sizes: Vec::new(), from: Vec::new(), to: Vec::new(), ..part.clone() };
    for axis in 0..part.sizes.len() {
        let (size, from, to) = (part.sizes[axis], part.from[axis], part.to[axis]);
        if size == 1 {
            continue;
        }
        match (joined.sizes.last_mut(), joined.from.last_mut(), joined.to.last_mut()) {
            (Some(sizes), Some(before), Some(target)) if *before == from * size && *target == to * size => {
                *sizes *= size;
                (*before, *target) = (from, to);
            }
            _ => {
                joined.sizes.push(size);
                joined.from.push(from);
                joined.to.push(to);
            }
        }
    }
    joined
}
