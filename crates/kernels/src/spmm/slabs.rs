//! How the inputs of sums are cut into slabs.

use super::Kernel;
use super::bands::Bands;
use super::packed::Column;
use crate::conv::ConvShape;
use std::ops::Range;

/// Columns, slab after slab.
pub(super) struct Slabs {
    pub columns: Vec<Column>,
    pub blocks: Vec<Range<usize>>,
    pub bands: Option<Bands>,
    /// Columns of non-zeros up to which each slab holds them.
    pub ends: Vec<u32>,
    /// Line of each of them.
    pub positions: Vec<u16>,
}

impl Slabs {
    pub fn of(kernel: &Kernel, k_block: usize, shape: &ConvShape, columns: &[Column]) -> Self {
        let bands = || Bands::of(&shape.window, shape.c_in, kernel.vectors, kernel.k_block * kernel.vectors);
        // Channels that are read twice have one place in a band.
        let can_share = shape.c_in.is_multiple_of(kernel.depth);
        match kernel.run_on_bands.filter(|_| can_share).and_then(|_| bands()) {
            Some(bands) => Self::of_channels(bands, columns, kernel.depth),
            None => Self::of_columns(k_block, columns, kernel.depth),
        }
    }

    fn of_columns(size: usize, columns: &[Column], depth: usize) -> Self {
        let blocks = columns.len().div_ceil(size).max(1);
        let blocks: Vec<_> = (0..blocks).map(|block| block * size..columns.len().min((block + 1) * size)).collect();
        let ends = blocks.iter().map(|block| (block.end / depth) as u32).collect();
        let positions = (0..columns.len()).step_by(depth).map(|at| (at % size) as u16).collect();
        Self { columns: columns.to_vec(), blocks, bands: None, ends, positions }
    }

    fn of_channels(bands: Bands, columns: &[Column], depth: usize) -> Self {
        let mut slabs =
            Self { columns: Vec::new(), blocks: Vec::new(), bands: None, ends: Vec::new(), positions: Vec::new() };
        let slab = |column: &Column| column.channel as usize / bands.channels;
        for of_slab in columns.chunk_by(|a, b| slab(a) == slab(b)) {
            let first = slabs.columns.len();
            let mut channels: Vec<u32> = of_slab.iter().map(|column| column.channel).collect();
            channels.sort_unstable();
            channels.dedup();
            slabs.positions.extend(of_slab.iter().step_by(depth).map(|column| {
                let rank = channels.partition_point(|&channel| channel < column.channel);
                bands.position(rank, column.tap) as u16
            }));
            slabs.columns.extend(channels.iter().map(|&channel| Column { tap: 0, channel }));
            slabs.blocks.push(first..slabs.columns.len());
            slabs.ends.push(slabs.positions.len() as u32);
        }
        if slabs.ends.is_empty() {
            slabs.ends.push(0);
            slabs.blocks.push(0..0);
        }
        Self { bands: Some(bands), ..slabs }
    }
}
