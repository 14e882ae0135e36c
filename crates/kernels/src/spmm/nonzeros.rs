//! The weights that are not zero, row by row, found in one pass over all weights.

use super::packed::Column;
use crate::conv::ConvShape;
use std::ops::Range;

/// Channels of a group of the form of 1x4 blocks.
pub(super) const DEPTH: usize = 4;
/// Rows that are brought together from columns at a time: a cache line of each column.
const STRIP: usize = 16;

/// Which of its axes a weight is laid out by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// `[c_out, c_in, kh, kw]`.
    Rows,
    /// `[c_in, c_out]`, a window of one tap.
    Columns,
}

/// Non-zeros of each output channel ("row"), in the order of the inputs that some row uses ("columns").
#[derive(Debug)]
pub(super) struct Nonzeros {
    pub columns: Vec<Column>,
    /// Row `r` has `starts[r]..starts[r + 1]`.
    starts: Vec<usize>,
    /// Index of the column, ascending in a row.
    indices: Vec<u32>,
    values: Vec<f32>,
    /// Adjacent columns that an index stands for, and values of each.
    depth: usize,
}

impl Nonzeros {
    /// `weight` is as large as `shape` says. All taps of `channels` input channels come before those of the next.
    pub fn find(shape: &ConvShape, weight: &[f32], order: Order, channels: usize) -> Self {
        let (taps, k) = (shape.window.taps(), shape.window.taps() * shape.c_in);
        let all = in_order(taps, shape.c_in, channels);
        let sources: Vec<u32> =
            all.iter().map(|column| (column.channel as usize * taps + column.tap as usize) as u32).collect();
        let mut found = Self { columns: vec![], starts: vec![0], indices: vec![], values: vec![], depth: 1 };
        let mut row = Scratch { indices: vec![0; k + 1], values: vec![0.0; k + 1] };
        match order {
            _ if weight.is_empty() => found.starts.resize(shape.c_out + 1, 0),
            Order::Rows => weight.chunks_exact(k).for_each(|values| found.push_row(values, &sources, &mut row)),
            Order::Columns => {
                let mut strip = vec![0.0; STRIP * k];
                for first in (0..shape.c_out).step_by(STRIP) {
                    let n_rows = STRIP.min(shape.c_out - first);
                    for (at, values) in weight.chunks_exact(shape.c_out).enumerate() {
                        for (row, &value) in values[first..first + n_rows].iter().enumerate() {
                            strip[row * k + at] = value;
                        }
                    }
                    strip.chunks_exact(k).take(n_rows).for_each(|values| found.push_row(values, &sources, &mut row));
                }
            }
        }
        found.leave_out_unused(all);
        found
    }

    fn push_row(&mut self, weight: &[f32], sources: &[u32], row: &mut Scratch) {
        // Every value is written and the next may overwrite it: branches on random zeros would be mispredicted.
        let mut n = 0;
        let (indices, values) = (&mut row.indices[..=sources.len()], &mut row.values[..=sources.len()]);
        for (index, &source) in sources.iter().enumerate() {
            let value = weight[source as usize];
            indices[n] = index as u32;
            values[n] = value;
            n += usize::from(value != 0.0);
        }
        self.indices.extend_from_slice(&indices[..n]);
        self.values.extend_from_slice(&values[..n]);
        self.starts.push(self.indices.len());
    }

    fn leave_out_unused(&mut self, all: Vec<Column>) {
        let mut is_used = vec![false; all.len()];
        self.indices.iter().for_each(|&index| is_used[index as usize] = true);
        if is_used.contains(&false) {
            let mut used = 0;
            let rank = |&is_used: &bool| {
                used += u32::from(is_used);
                used.wrapping_sub(1)
            };
            let ranks: Vec<u32> = is_used.iter().map(rank).collect();
            self.indices.iter_mut().for_each(|index| *index = ranks[*index as usize]);
        }
        self.columns = all.into_iter().zip(is_used).filter(|&(_, is_used)| is_used).map(|(column, _)| column).collect();
    }

    /// Brought together with the zeros beside them: all indices are then of [`DEPTH`] adjacent channels of a tap. The last
    /// channels are read with those before them, which is to say twice, if they are not as many.
    pub fn in_quads(self, c_in: usize) -> Self {
        let first = |column: &Column| (column.channel as usize / DEPTH * DEPTH).min(c_in - DEPTH) as u32;
        let mut found = Self { columns: vec![], starts: vec![0], indices: vec![], values: vec![], depth: DEPTH };
        let mut places = Vec::with_capacity(self.columns.len());
        for quad in self.columns.chunk_by(|a, b| a.tap == b.tap && a.channel / 4 == b.channel / 4) {
            let (tap, first, index) = (quad[0].tap, first(&quad[0]), (found.columns.len() / DEPTH) as u32);
            found.columns.extend((0..DEPTH as u32).map(|i| Column { tap, channel: first + i }));
            places.extend(quad.iter().map(|column| (index, (column.channel - first) as usize)));
        }
        for row in 0..self.rows() {
            let (start, first) = (found.indices.len(), self.of_row(row));
            for (&column, &value) in self.indices[first.clone()].iter().zip(&self.values[first]) {
                let (index, at) = places[column as usize];
                if found.indices[start..].last() != Some(&index) {
                    found.indices.push(index);
                    found.values.extend([0.0; DEPTH]);
                }
                let quad = found.values.len() - DEPTH;
                found.values[quad + at] = value;
            }
            found.starts.push(found.indices.len());
        }
        found
    }

    /// Values that are stored.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Where the non-zeros of a row lie.
    pub fn of_row(&self, row: usize) -> Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// Columns and weights of non-zeros; `depth` weights for each.
    pub fn at(&self, range: Range<usize>) -> (&[u32], &[f32]) {
        (&self.indices[range.clone()], &self.values[range.start * self.depth..range.end * self.depth])
    }

    /// Share of values other than zero in those blocks of four adjacent rows and one column that are not all zero.
    pub fn block_fill(&self) -> f64 {
        let mut seen = vec![usize::MAX; self.columns.len()];
        let mut blocks = 0;
        for row in 0..self.rows() {
            for &index in self.at(self.of_row(row)).0 {
                blocks += usize::from(std::mem::replace(&mut seen[index as usize], row / 4) != row / 4);
            }
        }
        self.len() as f64 / (4 * blocks).max(1) as f64
    }
}

/// Room for the non-zeros of a row, and one more.
struct Scratch {
    indices: Vec<u32>,
    values: Vec<f32>,
}

/// In blocks of channels, and in each tap by tap: planes and pixels are read again for the next tap while in cache.
fn in_order(taps: usize, c_in: usize, block: usize) -> Vec<Column> {
    let mut columns = Vec::with_capacity(taps * c_in);
    for first in (0..c_in).step_by(block) {
        for tap in 0..taps as u32 {
            let channels = first..c_in.min(first + block);
            columns.extend(channels.map(|channel| Column { tap, channel: channel as u32 }));
        }
    }
    columns
}
