//! Blocks of 1x4: four adjacent inputs of one output, one block at a time.
//!
//! The slab is `[groups of 4 inputs][pixels]`; each non-empty group of weights is one broadcast and one product a vector of
//! it.

use super::gather::BLOCK;
use super::slab;
use super::tiles::Sums;
use super::weights::{SparseRows, parts};
use crate::order::largest_first;

/// Groups of four inputs in a slab.
const SLAB: usize = slab::SLAB / 4;

/// What one call of the inner loop computes: `sums[row] (+)= Σ slab[group] · weights` for some rows of one part of K.
pub(super) struct BlockTile {
    /// Row of each turn, and where its groups begin and, at the next, end.
    pub order: *const u8,
    pub bounds: *const u32,
    /// Place in the slab of each group, and its weights.
    pub quads: *const u16,
    pub weights: *const [i8; 4],
    /// Its slab is `[SLAB][pixels]`, four inputs each.
    pub to: Sums,
}

/// The non-empty groups of all rows, by blocks of outputs, then parts of K.
#[derive(Clone)]
pub(super) struct PackedBlocks {
    k: usize,
    /// `[blocks of outputs][parts of K][BLOCK]`: rows of the block, those with more groups first.
    order: Vec<u8>,
    /// `[blocks of outputs][parts of K][BLOCK + 1]`.
    bounds: Vec<u32>,
    quads: Vec<u16>,
    weights: Vec<[i8; 4]>,
}

impl PackedBlocks {
    pub fn new(rows: &SparseRows) -> Self {
        let mut packed =
            Self { k: rows.k, order: Vec::new(), bounds: Vec::new(), quads: Vec::new(), weights: Vec::new() };
        let n_parts = packed.n_parts();
        for block in rows.rows.chunks(BLOCK) {
            let rows: Vec<_> = block.iter().map(|row| groups(row)).collect();
            for index in 0..n_parts {
                let quads = (index * SLAB) as u32..((index + 1) * SLAB) as u32;
                let inside = |row: &[(u32, [i8; 4])]| {
                    let at = |quad: u32| row.partition_point(|&(other, _)| other < quad);
                    at(quads.start)..at(quads.end)
                };
                // Rows with equal numbers one after the other make the ends of their loops predictable.
                let order = largest_first(rows.iter().map(|row| inside(row).len()));
                for place in 0..BLOCK {
                    packed.bounds.push(packed.quads.len() as u32);
                    packed.order.push(order.get(place).map_or(0, |&row| row as u8));
                    let Some(row) = order.get(place).map(|&row| &rows[row]) else { continue };
                    for &(quad, weights) in &row[inside(row)] {
                        packed.quads.push((quad - quads.start) as u16);
                        packed.weights.push(weights);
                    }
                }
                packed.bounds.push(packed.quads.len() as u32);
            }
        }
        packed
    }

    /// Parts of K; at least one, which sets the sums to 0.
    pub fn n_parts(&self) -> usize {
        self.k.div_ceil(SLAB * 4).max(1)
    }

    /// Groups of weights.
    pub fn len(&self) -> usize {
        self.quads.len()
    }

    /// Where the rows of part `at` of [`Self::n_parts`] a block are.
    pub fn tile(&self, at: usize, to: Sums) -> BlockTile {
        BlockTile {
            order: self.order[at * BLOCK..].as_ptr(),
            bounds: self.bounds[at * (BLOCK + 1)..].as_ptr(),
            quads: self.quads.as_ptr(),
            weights: self.weights.as_ptr(),
            to,
        }
    }

    pub fn size_bytes(&self) -> usize {
        self.order.len() + self.bounds.len() * 4 + self.quads.len() * 6
    }
}

/// Groups of four, with their place; large weights make several groups of the same place.
fn groups(row: &[(u32, i16)]) -> Vec<(u32, [i8; 4])> {
    let mut groups: Vec<(u32, [i8; 4])> = Vec::new();
    for of_one in row.chunk_by(|a, b| a.0 / 4 == b.0 / 4) {
        let first = groups.len();
        for &(column, weight) in of_one {
            for (index, part) in parts(weight).enumerate() {
                if groups.len() <= first + index {
                    groups.push((column / 4, [0; 4]));
                }
                groups[first + index].1[column as usize % 4] = part;
            }
        }
    }
    groups
}
