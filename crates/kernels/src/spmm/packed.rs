//! Non-zeros in the order the inner loop reads them.

use super::Kernel;
use super::bands::{self, Bands};
use super::lanes::AHEAD;
use super::nonzeros::{DEPTH, Nonzeros, Order};
use super::slabs::Slabs;
use crate::conv::{ConvShape, Window};
use crate::error::ShapeError;
use crate::order::largest_first;
use std::ops::Range;

/// Output channels of a part are a multiple of this, so that blocks of them can be transposed.
pub(super) const ROW_BLOCK: usize = 16;
/// Input channels of a window of one row that are read for all taps before the next: a cache line of pixels.
const CHANNEL_BLOCK: usize = 16;
/// The most parts that the output channels are split into.
const MAX_PARTS: usize = 8;
/// Rows of a part whose sums stay in L1 while the inputs of 1x4 blocks go by.
const PART_OF_INPUTS: usize = 96;
/// What starting, storing and finishing a row of a block costs, in non-zeros.
const ROW_COST: usize = 4;
/// Share of values that are no zeros above which the form of 4x1 blocks is faster.
const BLOCK_FILL: f64 = 0.7;

/// Constant weights of a convolution or linear layer, only those that are not zero.
///
/// Inputs ("columns", pairs of tap and channel) that no output uses are left out. The others are cut into blocks of K
/// (of whole channels, if their taps share lines of the slab),
/// the outputs ("rows") into parts with about as many non-zeros each. Inside of a block and part, rows are sorted by
/// their non-zeros and grouped (two rows, or the four of 4x1 blocks), and each group is a run of steps.
#[derive(Clone)]
pub struct PackedSpmm {
    pub(super) kernel: &'static Kernel,
    /// Inputs of a slab without bands.
    k_block: usize,
    shape: ConvShape,
    nonzeros: usize,
    /// What is copied into slabs: columns, or channels as columns of the first tap if there are bands.
    pub(super) columns: Vec<Column>,
    /// Of these, for each block of K.
    pub(super) blocks: Vec<Range<usize>>,
    pub(super) bands: Option<Bands>,
    pub(super) parts: Vec<Part>,
    /// Of block `b` and part `p` at `b · parts + p`.
    pub(super) streams: Vec<Stream>,
    pub(super) groups: Vec<Group>,
    /// Lines of the slab: one for each step of 4x1 blocks, one in each half for each step of a pair; of 1x4 blocks rows of the
    /// part.
    pub(super) positions: Vec<u32>,
    /// Weights for each step, each row and each input of a block.
    pub(super) weights: Vec<f32>,
}

/// An input that some output uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub tap: u32,
    pub channel: u32,
}

/// Adjacent rows and their share of the work.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub rows: Range<usize>,
    pub cost: usize,
}

/// Where the groups of one block of K and one part begin and end.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub groups: Range<usize>,
    /// First of its positions.
    pub position: usize,
    /// First of its weights.
    pub weight: usize,
}

/// Rows that are summed side by side, relative to their part; of 4x1 blocks the first and last of four. Of 1x4 blocks, the first
/// line of four inputs and how many rows use them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub rows: [u16; 2],
    pub steps: u32,
}

impl PackedSpmm {
    /// Packs `weight`, `[c_out, c_in, kh, kw]` as ONNX has it, for the fastest kernel of this CPU and of its pattern. `pixels`
    /// says how many outputs it will mostly make at a time; it runs any number, with the same result.
    ///
    /// # Errors
    /// [`ShapeError`] if there is more than one group, a size is 0 or `weight` has another length.
    pub fn conv(shape: ConvShape, weight: &[f32], pixels: usize) -> Result<Self, ShapeError> {
        check(&shape, weight)?;
        Ok(Self::pack(None, shape, weight, Order::Rows, pixels))
    }

    /// [`Self::conv`] for weights in blocks of 1x4: of four adjacent input channels at one tap, all or none are zero. A block
    /// with any weight is multiplied whole.
    ///
    /// # Errors
    /// As [`Self::conv`], and if there are less than four input channels.
    pub fn conv_1x4(shape: ConvShape, weight: &[f32]) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(1, DEPTH), shape, weight)
    }

    /// [`Self::linear`] for weights in blocks of 1x4, as [`Self::conv_1x4`].
    ///
    /// # Errors
    /// As [`Self::conv_1x4`].
    pub fn linear_1x4(weight: &[f32], k: usize, n: usize, is_transposed: bool) -> Result<Self, ShapeError> {
        Self::linear_for(Some(Kernel::best(1, DEPTH)), weight, k, n, is_transposed, usize::MAX)
    }

    /// Packs the constant side of `[m, k] · [k, n]`, or `[n, k]` if it is transposed, as a convolution of one pixel; `m` will
    /// mostly be `pixels`.
    ///
    /// # Errors
    /// [`ShapeError`] if `weight` has another length.
    pub fn linear(weight: &[f32], k: usize, n: usize, is_transposed: bool, pixels: usize) -> Result<Self, ShapeError> {
        Self::linear_for(None, weight, k, n, is_transposed, pixels)
    }

    fn linear_for(
        kernel: Option<&'static Kernel>,
        weight: &[f32],
        k: usize,
        n: usize,
        is_transposed: bool,
        pixels: usize,
    ) -> Result<Self, ShapeError> {
        let shape = ConvShape { window: Window::POINT, c_in: k, c_out: n, groups: 1 };
        ShapeError::expect("weight", weight.len(), ShapeError::product("weight", &[k, n])?)?;
        check(&shape, weight)?;
        kernel.map_or(Ok(()), |kernel| check_depth(kernel, &shape))?;
        let order = if is_transposed { Order::Rows } else { Order::Columns };
        Ok(Self::pack(kernel, shape, weight, order, pixels))
    }

    /// Packs for one variant of [`KERNELS`](super::KERNELS).
    ///
    /// # Errors
    /// As [`Self::conv`], and if there are fewer input channels than in a block.
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(kernel: &'static Kernel, shape: ConvShape, weight: &[f32]) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        check(&shape, weight)?;
        check_depth(kernel, &shape)?;
        Ok(Self::pack(Some(kernel), shape, weight, Order::Rows, usize::MAX))
    }

    /// For `kernel` or the best for the pattern.
    fn pack(kernel: Option<&'static Kernel>, shape: ConvShape, weight: &[f32], order: Order, pixels: usize) -> Self {
        let channel_block = if shape.window.kernel[0] > 1 { bands::CHANNELS } else { CHANNEL_BLOCK };
        let nonzeros = Nonzeros::find(&shape, weight, order, channel_block);
        let best = || Kernel::best(if nonzeros.block_fill() >= BLOCK_FILL { 4 } else { 1 }, 1);
        let kernel = kernel.unwrap_or_else(best);
        let n_nonzeros = nonzeros.len();
        let nonzeros = &if kernel.depth > 1 { nonzeros.in_quads(shape.c_in) } else { nonzeros };
        // Blocks of half as many pixels, which is what two threads make of a whole one, leave room for twice the inputs in L1.
        let vectors = pixels.div_ceil(kernel.lanes);
        let is_narrow = kernel.depth == 1 && (vectors <= kernel.vectors / 2 || vectors == kernel.vectors);
        let k_block = if is_narrow { 2 * kernel.k_block } else { kernel.k_block };
        let slabs = Slabs::of(kernel, k_block, &shape, &nonzeros.columns);
        let mut packed = Self {
            kernel,
            k_block,
            shape,
            nonzeros: n_nonzeros,
            columns: slabs.columns,
            blocks: slabs.blocks,
            bands: slabs.bands,
            parts: parts(nonzeros, kernel.depth),
            streams: Vec::new(),
            groups: Vec::new(),
            positions: Vec::new(),
            weights: Vec::new(),
        };
        let blocks = slabs.ends.len();
        // What is left of each row after the blocks before.
        let mut rest: Vec<Range<usize>> = (0..shape.c_out).map(|row| nonzeros.of_row(row)).collect();
        for (block, &end) in slabs.ends.iter().enumerate() {
            let is_end = block == 0 || block + 1 == blocks;
            let rows: Vec<Entries<'_>> = rest
                .iter_mut()
                .map(|rest| {
                    let len = nonzeros.at(rest.clone()).0.partition_point(|&column| column < end);
                    let (columns, weights) = nonzeros.at(rest.start..rest.start + len);
                    rest.start += len;
                    Entries { columns, weights }
                })
                .collect();
            for part in 0..packed.parts.len() {
                let part = packed.parts[part].rows.clone();
                packed.push_stream(&rows[part], &slabs.positions, is_end);
            }
        }
        // Read ahead of the last step.
        packed.positions.extend([0; AHEAD]);
        packed
    }

    /// What was packed.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Name of the variant of [`KERNELS`](super::KERNELS) that runs it.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        size_of_val(&self.columns[..])
            + size_of_val(&self.blocks[..])
            + size_of_val(&self.streams[..])
            + size_of_val(&self.groups[..])
            + size_of_val(&self.positions[..])
            + size_of_val(&self.weights[..])
    }

    /// Weights that are not zero.
    pub fn nonzeros(&self) -> usize {
        self.nonzeros
    }

    /// Floats of a line of the slab, in blocks of `width` pixels.
    pub(super) fn line(&self, width: usize) -> usize {
        if self.bands.is_some() { self.kernel.lanes } else { width }
    }

    /// Line of zeros after the slab.
    pub(super) fn zeros(&self) -> usize {
        self.bands.as_ref().map_or(self.k_block, Bands::size)
    }

    /// Floats from one input of a block to the next, in blocks of `width` pixels.
    pub(super) fn step(&self, width: usize) -> usize {
        self.bands.as_ref().map_or(width, |bands| bands.lines_of_channel() * self.kernel.lanes)
    }

    /// `rows` of a part. `is_end`: those without a non-zero are kept, because they must be started or finished.
    fn push_stream(&mut self, rows: &[Entries<'_>], lines: &[u16], is_end: bool) {
        let (groups, position, weight) = (self.groups.len(), self.positions.len(), self.weights.len());
        if self.kernel.depth > 1 {
            self.push_inputs(rows, lines);
        } else if self.kernel.block_rows > 1 {
            self.push_quads(rows, lines, is_end);
        } else {
            // Groups of equally many steps follow each other, so that the end of the loop is predicted.
            let order = largest_first(rows.iter().map(|row| row.columns.len())).into_iter();
            let order: Vec<u16> =
                order.filter(|&row| is_end || !rows[row].columns.is_empty()).map(|row| row as u16).collect();
            for pair in order.chunks(2) {
                self.push_pair(rows, pair, lines);
            }
        }
        self.streams.push(Stream { groups: groups..self.groups.len(), position, weight });
    }

    /// A row that has fewer non-zeros is filled up from the line of zeros after the slab. A row without another is paired
    /// with itself: the first of the two adds nothing, and the second is stored last.
    fn push_pair(&mut self, rows: &[Entries<'_>], pair: &[u16], lines: &[u16]) {
        let of_pair = [pair[0], pair[pair.len() - 1]];
        let zeros = self.zeros() as u32;
        let (position, weight) = (self.positions.len(), self.weights.len());
        let steps = rows[usize::from(pair[0])].columns.len();
        self.positions.resize(position + steps, zeros | zeros << 16);
        self.weights.resize(weight + 2 * steps, 0.0);
        for (half, row) in of_pair.into_iter().enumerate().skip(2 - pair.len()) {
            let row = &rows[usize::from(row)];
            let shift = 16 * half;
            for (to, &at) in self.positions[position..].iter_mut().zip(row.columns) {
                *to = *to & !(0xFFFF << shift) | u32::from(lines[at as usize]) << shift;
            }
            for (to, &value) in self.weights[weight..].iter_mut().skip(half).step_by(2).zip(row.weights) {
                *to = value;
            }
        }
        self.groups.push(Group { rows: of_pair, steps: steps as u32 });
    }

    /// A group for each four inputs that any row uses, those of most rows first.
    fn push_inputs(&mut self, rows: &[Entries<'_>], lines: &[u16]) {
        let of_row = |(row, entries): (usize, &Entries<'_>)| {
            entries.columns.iter().enumerate().map(|(at, &column)| (column, row, at)).collect::<Vec<_>>()
        };
        let mut all: Vec<(u32, usize, usize)> = rows.iter().enumerate().flat_map(of_row).collect();
        all.sort_unstable();
        let groups: Vec<&[(u32, usize, usize)]> = all.chunk_by(|a, b| a.0 == b.0).collect();
        for group in largest_first(groups.iter().map(|group| group.len())).into_iter().map(|at| groups[at]) {
            for &(_, row, at) in group {
                self.positions.push(row as u32);
                self.weights.extend_from_slice(&rows[row].weights[at * DEPTH..(at + 1) * DEPTH]);
            }
            self.groups.push(Group { rows: [lines[group[0].0 as usize], 0], steps: group.len() as u32 });
        }
    }

    fn push_quads(&mut self, rows: &[Entries<'_>], lines: &[u16], is_end: bool) {
        let mut quads: Vec<(u16, Vec<u32>)> = Vec::new();
        for (index, quad) in rows.chunks(4).enumerate() {
            let mut columns = quad.iter().flat_map(|row| row.columns).copied().collect::<Vec<_>>();
            columns.sort_unstable();
            columns.dedup();
            if is_end || !columns.is_empty() {
                quads.push((4 * index as u16, columns));
            }
        }
        for (first, columns) in largest_first(quads.iter().map(|quad| quad.1.len())).into_iter().map(|at| &quads[at]) {
            let first = *first;
            let start = self.weights.len();
            self.weights.resize(start + 4 * columns.len(), 0.0);
            self.positions.extend(columns.iter().map(|&at| u32::from(lines[at as usize])));
            for (i, row) in rows[usize::from(first)..].iter().take(4).enumerate() {
                let mut slot = 0;
                for (at, &weight) in row.columns.iter().zip(row.weights) {
                    while columns[slot] != *at {
                        slot += 1;
                    }
                    self.weights[start + 4 * slot + i] = weight;
                }
            }
            self.groups.push(Group { rows: [first, first + 3], steps: columns.len() as u32 });
        }
    }
}

/// Non-zeros of a row in a block of K.
struct Entries<'a> {
    /// Ascending.
    columns: &'a [u32],
    /// As many for each as a block has inputs.
    weights: &'a [f32],
}

impl std::fmt::Debug for PackedSpmm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedSpmm({:?}, {} non-zeros for {})", self.shape, self.nonzeros, self.kernel.name)
    }
}

fn check(shape: &ConvShape, weight: &[f32]) -> Result<(), ShapeError> {
    shape.check()?;
    ShapeError::require(shape.groups == 1, "the number of groups", shape.groups, "1")?;
    ShapeError::expect("weight", weight.len(), shape.weight_len())?;
    // Columns are counted in 32 bits.
    let k = ShapeError::product("weight", &[shape.c_in, shape.window.taps()])?;
    ShapeError::require(k <= u32::MAX as usize, "the number of inputs of a sum", k, "below 2^32")
}

fn check_depth(kernel: &Kernel, shape: &ConvShape) -> Result<(), ShapeError> {
    let is_wide = kernel.depth == 1 || shape.c_in >= kernel.depth;
    ShapeError::require(is_wide, "the number of input channels", shape.c_in, "at least that of a block")
}

/// Adjacent rows of about equal work.
fn parts(nonzeros: &Nonzeros, depth: usize) -> Vec<Part> {
    let c_out = nonzeros.rows();
    // Group rows are 16 bits wide.
    let wanted = (c_out / (2 * ROW_BLOCK)).clamp(1, MAX_PARTS).max(c_out.div_ceil(1 << 15));
    let wanted = if depth > 1 { (c_out / PART_OF_INPUTS).max(1) } else { wanted };
    let cost = |row: usize| nonzeros.of_row(row).len() * depth + ROW_COST;
    let total: usize = (0..c_out).map(cost).sum();
    let mut parts = Vec::new();
    let (mut start, mut before, mut sum) = (0, 0, 0);
    for first in (0..c_out).step_by(ROW_BLOCK) {
        let end = c_out.min(first + ROW_BLOCK);
        sum += (first..end).map(cost).sum::<usize>();
        let is_due = sum * wanted >= total * (parts.len() + 1) || end - start >= 1 << 15;
        if is_due || end == c_out {
            parts.push(Part { rows: start..end, cost: sum - before });
            (start, before) = (end, sum);
        }
    }
    parts
}
