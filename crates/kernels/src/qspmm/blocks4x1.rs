//! Blocks of 4x1: four adjacent outputs keep the same inputs, which may lie anywhere.
//!
//! The slab is `[inputs][64 pixels]`, of bytes. A step takes four inputs that the outputs have weights for, interleaves them
//! so that each pixel has its four bytes side by side, and multiplies them by the weights of all four outputs: what
//! interleaving costs is shared by the outputs, and no product is by a zero.

use super::gather::BLOCK;
use super::slab::SLAB;
use super::tiles::Sums;
use super::weights::{SparseRows, parts};
use crate::order::largest_first;

/// Outputs of a block.
pub(super) const ROWS: usize = 4;
/// Bytes of an input in a slab, one a pixel.
pub(super) const LINE: usize = 64;
/// Groups of rows in a block of outputs.
const GROUPS: usize = BLOCK / ROWS;

/// Inputs and weights of one step.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Step {
    /// Where the inputs begin in the slab, in bytes.
    pub inputs: [u16; 4],
    /// Of each output, by these inputs.
    pub weights: [[i8; 4]; ROWS],
}

const _: () = assert!((SLAB - 1) * LINE <= u16::MAX as usize);

/// What one call of the inner loop computes: `sums[row] (+)= Σ inputs · weights` for some rows of one part of K.
pub(super) struct Tile4x1 {
    /// Groups of rows, first of each, and where their steps begin and, at the next, end.
    pub groups: usize,
    pub order: *const u8,
    pub bounds: *const u32,
    pub steps: *const Step,
    pub to: Sums,
}

/// The steps of all groups of rows, by blocks of outputs, then parts of K.
#[derive(Clone)]
pub(super) struct Packed4x1 {
    k: usize,
    /// `[blocks of outputs][parts of K][GROUPS]`: first rows, those with more steps first.
    order: Vec<u8>,
    /// `[blocks of outputs][parts of K][GROUPS + 1]`.
    bounds: Vec<u32>,
    steps: Vec<Step>,
}

impl Packed4x1 {
    pub fn new(rows: &SparseRows) -> Self {
        let mut packed = Self { k: rows.k, order: Vec::new(), bounds: Vec::new(), steps: Vec::new() };
        let n_parts = packed.n_parts();
        for block in rows.rows.chunks(BLOCK) {
            let groups: Vec<_> = block.chunks(ROWS).map(columns).collect();
            for part in 0..n_parts as u32 {
                let inside = |group: &[(u32, [i8; ROWS])]| {
                    let at = |part: u32| group.partition_point(|&(column, _)| column < part * SLAB as u32);
                    at(part)..at(part + 1)
                };
                // Groups with equal numbers one after the other make the ends of their loops predictable.
                let order = largest_first(groups.iter().map(|group| inside(group).len()));
                for place in 0..GROUPS {
                    packed.bounds.push(packed.steps.len() as u32);
                    packed.order.push(order.get(place).map_or(0, |&group| (group * ROWS) as u8));
                    let Some(group) = order.get(place).map(|&group| &groups[group]) else { continue };
                    packed.steps.extend(group[inside(group)].chunks(4).map(step));
                }
                packed.bounds.push(packed.steps.len() as u32);
            }
        }
        packed
    }

    /// Parts of K; at least one, which sets the sums to 0.
    pub fn n_parts(&self) -> usize {
        self.k.div_ceil(SLAB).max(1)
    }

    /// Products of a vector.
    pub fn products(&self) -> usize {
        self.steps.len() * ROWS
    }

    /// Where the rows of part `at` of [`Self::n_parts`] a block are.
    pub fn tile(&self, at: usize, to: Sums) -> Tile4x1 {
        Tile4x1 {
            groups: to.rows.div_ceil(ROWS),
            order: self.order[at * GROUPS..].as_ptr(),
            bounds: self.bounds[at * (GROUPS + 1)..].as_ptr(),
            steps: self.steps.as_ptr(),
            to,
        }
    }

    pub fn size_bytes(&self) -> usize {
        self.order.len() + size_of_val(&self.bounds[..]) + size_of_val(&self.steps[..])
    }
}

/// The inputs that any of some rows has a weight for; large weights make several of the same.
fn columns(rows: &[Vec<(u32, i16)>]) -> Vec<(u32, [i8; ROWS])> {
    let mut all: Vec<(u32, usize, i16)> = Vec::new();
    for (row, weights) in rows.iter().enumerate() {
        all.extend(weights.iter().map(|&(column, weight)| (column, row, weight)));
    }
    all.sort_unstable();
    let mut columns: Vec<(u32, [i8; ROWS])> = Vec::new();
    for of_one in all.chunk_by(|a, b| a.0 == b.0) {
        let first = columns.len();
        for &(column, row, weight) in of_one {
            for (index, part) in parts(weight).enumerate() {
                if columns.len() <= first + index {
                    columns.push((column, [0; ROWS]));
                }
                columns[first + index].1[row] = part;
            }
        }
    }
    columns
}

/// Of up to four inputs; those that are missing are multiplied by 0.
fn step(columns: &[(u32, [i8; ROWS])]) -> Step {
    let mut step = Step { inputs: [0; 4], weights: [[0; 4]; ROWS] };
    for (at, (column, weights)) in columns.iter().enumerate() {
        step.inputs[at] = (*column as usize % SLAB * LINE) as u16;
        (0..ROWS).for_each(|row| step.weights[row][at] = weights[row]);
    }
    step
}
