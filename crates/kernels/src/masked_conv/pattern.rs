//! The weights that are kept, in the order the loops read them.

use super::geometry::{Lines, Pass};
use std::ops::Range;

/// Floats of a slab: with room for what passes by they stay in L1.
const SLAB: usize = 10 << 10;
/// Steps whose place is read before they are needed.
pub(super) const AHEAD: usize = 2;

/// A weight: where the slab has what it is multiplied with, in floats.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Step {
    pub at: u32,
    pub weight: f32,
}

/// The steps of one output in a block of inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub output: u32,
    pub steps: u32,
}

/// A block of inputs, which are in the slab at the same time.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub inputs: Range<usize>,
    pub rows: Range<usize>,
    /// Its first step.
    pub step: usize,
}

/// The kept weights of a pass.
#[derive(Debug)]
pub(super) struct Pattern {
    pub lines: [Lines; 2],
    pub blocks: Vec<Block>,
    /// Those of a block are sorted by their steps, so that the end of the loop is predicted.
    pub rows: Vec<Row>,
    /// [`AHEAD`] more than there are.
    pub steps: Vec<Step>,
    /// Of each step, its place in the weight.
    pub places: Vec<u32>,
}

impl Pattern {
    /// For tiles of `tile` outputs `[down, right]` and vectors of `lanes`.
    pub fn new(pass: &Pass, weight: &[f32], tile: [usize; 2], lanes: usize) -> Self {
        let lines = [Lines::new(&pass.axes[0], tile[0]), Lines::new(&pass.axes[1], tile[1])];
        let cols = lines[1].inputs.len();
        let of_input = lines[0].inputs.len() * cols * lanes;
        // Slabs of about the same size, of whole vectors of inputs.
        let vectors = pass.inputs.div_ceil(lanes).max(1);
        let fit = (SLAB / (of_input * lanes).max(1)).max(1);
        let width = vectors.div_ceil(vectors.div_ceil(fit)) * lanes;
        let taps: Vec<(usize, usize)> = (0..lines[0].taps.len())
            .flat_map(|y| (0..lines[1].taps.len()).map(move |x| (y, x)))
            .map(|(y, x)| {
                let place = pass.axes[0].taps[y] * pass.kernel_w + pass.axes[1].taps[x];
                (place, (lines[0].taps[y] * cols + lines[1].taps[x]) * lanes)
            })
            .collect();
        let mut pattern = Self { lines, blocks: Vec::new(), rows: Vec::new(), steps: Vec::new(), places: Vec::new() };
        let mut found: Vec<(Step, u32)> = vec![Default::default(); width * taps.len() + 1];
        let mut unsorted: Vec<(Step, u32)> = Vec::new();
        let mut rows: Vec<(Row, usize)> = Vec::new();
        for start in (0..pass.inputs).step_by(width) {
            let inputs = start..pass.inputs.min(start + width);
            unsorted.clear();
            rows.clear();
            for output in 0..pass.outputs {
                let mut n = 0;
                for (index, input) in inputs.clone().enumerate() {
                    let from = input * pass.strides[0] + output * pass.strides[1];
                    for &(tap, at) in &taps {
                        let weight = weight[from + tap];
                        let at = (index * of_input + at) as u32;
                        // Written always: a branch on each would cost more.
                        found[n] = (Step { at, weight }, (from + tap) as u32);
                        n += usize::from(weight != 0.0);
                    }
                }
                if n > 0 || start == 0 {
                    rows.push((Row { output: output as u32, steps: n as u32 }, unsorted.len()));
                    unsorted.extend_from_slice(&found[..n]);
                }
            }
            rows.sort_by_key(|(row, _)| row.steps);
            let (first, step) = (pattern.rows.len(), pattern.steps.len());
            for &(row, at) in &rows {
                pattern.rows.push(row);
                for &(step, place) in &unsorted[at..at + row.steps as usize] {
                    pattern.steps.push(step);
                    pattern.places.push(place);
                }
            }
            pattern.blocks.push(Block { inputs, rows: first..pattern.rows.len(), step });
        }
        if pattern.blocks.is_empty() {
            // No inputs: outputs are still written.
            pattern.rows.extend((0..pass.outputs).map(|output| Row { output: output as u32, steps: 0 }));
            pattern.blocks.push(Block { inputs: 0..0, rows: 0..pass.outputs, step: 0 });
        }
        pattern.steps.extend([Step::default(); AHEAD]);
        pattern
    }

    /// Floats of the slab of one input.
    pub fn of_input(&self, lanes: usize) -> usize {
        self.lines[0].inputs.len() * self.lines[1].inputs.len() * lanes
    }

    /// Floats of the largest slab.
    pub fn slab_len(&self, lanes: usize) -> usize {
        self.blocks.iter().map(|block| block.inputs.len()).max().unwrap_or(0) * self.of_input(lanes)
    }
}
