//! Non-zeros in the order the inner loop reads them.

use super::Kernel;
use super::lanes::AHEAD;
use crate::conv::{ConvShape, Window};
use crate::error::ShapeError;
use std::ops::Range;

/// Output channels of a part are a multiple of this, so that blocks of them can be transposed.
pub(super) const ROW_BLOCK: usize = 16;
/// The most parts that the output channels are split into.
const MAX_PARTS: usize = 8;
/// Input channels that are read for all taps before the next: a cache line of pixels.
const CHANNEL_BLOCK: usize = 16;
/// What starting, storing and finishing a row of a block costs, in non-zeros.
const ROW_COST: usize = 4;
/// Share of values that are no zeros above which the form of 4x1 blocks is faster.
const BLOCK_FILL: f64 = 0.7;

/// Constant weights of a convolution or linear layer, only those that are not zero.
///
/// Inputs ("columns", pairs of tap and channel) that no output uses are left out. The others are cut into blocks of K,
/// the outputs ("rows") into parts with about as many non-zeros each. Inside of a block and part, rows are sorted by
/// their non-zeros and grouped (two rows, or the four of 4x1 blocks), and each group is a run of steps.
#[derive(Clone)]
pub struct PackedSpmm {
    pub(super) kernel: &'static Kernel,
    shape: ConvShape,
    nonzeros: usize,
    pub(super) columns: Vec<Column>,
    pub(super) parts: Vec<Part>,
    /// Of block `b` and part `p` at `b · parts + p`.
    pub(super) streams: Vec<Stream>,
    pub(super) groups: Vec<Group>,
    /// Positions in the slab: one for each step of 4x1 blocks, one in each half for each step of a pair.
    pub(super) positions: Vec<u32>,
    /// Weights for each step and each row.
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

/// Rows that are summed side by side, relative to their part; of 4x1 blocks the first and last of four.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub rows: [u16; 2],
    pub steps: u32,
}

impl PackedSpmm {
    /// Packs `weight`, `[c_out, c_in, kh, kw]` as ONNX has it, for the fastest kernel of this CPU and of its pattern.
    ///
    /// # Errors
    /// [`ShapeError`] if there is more than one group, a size is 0 or `weight` has another length.
    pub fn conv(shape: ConvShape, weight: &[f32]) -> Result<Self, ShapeError> {
        check(&shape, weight)?;
        let block_rows = if block_fill(&shape, weight) >= BLOCK_FILL { 4 } else { 1 };
        Self::for_kernel(Kernel::best(block_rows), shape, weight)
    }

    /// Packs the constant side of `[m, k] · [k, n]`, or `[n, k]` if it is transposed, as a convolution of one pixel.
    ///
    /// # Errors
    /// [`ShapeError`] if `weight` has another length.
    pub fn linear(weight: &[f32], k: usize, n: usize, is_transposed: bool) -> Result<Self, ShapeError> {
        let shape = ConvShape { window: Window::POINT, c_in: k, c_out: n, groups: 1 };
        ShapeError::expect("weight", weight.len(), ShapeError::product("weight", &[k, n])?)?;
        if is_transposed || k <= 1 || n <= 1 {
            return Self::conv(shape, weight);
        }
        let mut rows = vec![0.0; weight.len()];
        for (col, values) in weight.chunks_exact(n).enumerate() {
            for (row, &value) in values.iter().enumerate() {
                rows[row * k + col] = value;
            }
        }
        Self::conv(shape, &rows)
    }

    /// Packs for one variant of [`KERNELS`](super::KERNELS).
    ///
    /// # Errors
    /// As [`Self::conv`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(kernel: &'static Kernel, shape: ConvShape, weight: &[f32]) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        check(&shape, weight)?;
        let rows = Rows { taps: shape.window.taps(), c_in: shape.c_in, weight };
        let mut packed = Self {
            kernel,
            shape,
            nonzeros: weight.iter().filter(|&&w| w != 0.0).count(),
            columns: rows.used_columns(shape.c_out),
            parts: rows.parts(shape.c_out),
            streams: Vec::new(),
            groups: Vec::new(),
            positions: Vec::new(),
            weights: Vec::new(),
        };
        let blocks = packed.columns.len().div_ceil(kernel.k_block).max(1);
        for block in 0..blocks {
            let is_end = block == 0 || block + 1 == blocks;
            let columns = block * kernel.k_block..packed.columns.len().min((block + 1) * kernel.k_block);
            for part in 0..packed.parts.len() {
                packed.push_stream(&rows, columns.clone(), packed.parts[part].rows.clone(), is_end);
            }
        }
        // Read ahead of the last step.
        packed.positions.extend([0; AHEAD]);
        Ok(packed)
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
            + size_of_val(&self.streams[..])
            + size_of_val(&self.groups[..])
            + size_of_val(&self.positions[..])
            + size_of_val(&self.weights[..])
    }

    /// Weights that are not zero.
    pub fn nonzeros(&self) -> usize {
        self.nonzeros
    }

    /// Columns of a block of K.
    pub(super) fn block(&self, block: usize) -> Range<usize> {
        let size = self.kernel.k_block;
        block * size..self.columns.len().min((block + 1) * size)
    }

    /// `is_end`: rows without a non-zero are kept, because they must be started or finished.
    fn push_stream(&mut self, rows: &Rows<'_>, columns: Range<usize>, part: Range<usize>, is_end: bool) {
        let (groups, position, weight) = (self.groups.len(), self.positions.len(), self.weights.len());
        let block_rows = self.kernel.block_rows;
        // Positions in the slab, of the first row of each unit.
        let mut units: Vec<(usize, Vec<u16>)> = Vec::new();
        for first in part.clone().step_by(block_rows) {
            let of_unit = first..part.end.min(first + block_rows);
            let positions = (columns.clone().enumerate())
                .filter(|&(_, column)| of_unit.clone().any(|row| rows.at(row, self.columns[column]) != 0.0))
                .map(|(position, _)| position as u16)
                .collect::<Vec<_>>();
            if is_end || !positions.is_empty() {
                units.push((first, positions));
            }
        }
        // Groups of equally many steps follow each other, so that the end of the loop is predicted.
        units.sort_by_key(|(_, positions)| std::cmp::Reverse(positions.len()));
        if block_rows > 1 {
            for (first, positions) in units {
                self.push_quad(rows, columns.start, first, &positions, part.start);
            }
        } else {
            for pair in units.chunks(2) {
                self.push_pair(rows, columns.start, pair, part.start);
            }
        }
        self.streams.push(Stream { groups: groups..self.groups.len(), position, weight });
    }

    fn push_quad(&mut self, rows: &Rows<'_>, column: usize, first: usize, positions: &[u16], part: usize) {
        for &position in positions {
            self.positions.push(u32::from(position));
            let column = self.columns[column + usize::from(position)];
            for row in first..first + self.kernel.block_rows {
                self.weights.push(if row < self.shape.c_out { rows.at(row, column) } else { 0.0 });
            }
        }
        let row = (first - part) as u16;
        self.groups.push(Group { rows: [row, row + 3], steps: positions.len() as u32 });
    }

    /// A row that has fewer non-zeros is filled up from the line of zeros after the slab. A row without another is paired
    /// with itself: the first of the two adds nothing, and the second is stored last.
    fn push_pair(&mut self, rows: &Rows<'_>, column: usize, pair: &[(usize, Vec<u16>)], part: usize) {
        let real = &pair[pair.len() - 1];
        let (first, second) = if pair.len() == 2 { (&pair[0].1[..], &real.1[..]) } else { (&[][..], &real.1[..]) };
        let steps = first.len().max(second.len());
        let units = [(pair[0].0, first), (real.0, second)];
        for step in 0..steps {
            let mut both = [0; 2];
            for ((row, positions), both) in units.into_iter().zip(&mut both) {
                let (position, weight) = match positions.get(step) {
                    Some(&position) => (position, rows.at(row, self.columns[column + usize::from(position)])),
                    None => (self.kernel.k_block as u16, 0.0),
                };
                *both = u32::from(position);
                self.weights.push(weight);
            }
            self.positions.push(both[0] | both[1] << 16);
        }
        self.groups.push(Group { rows: units.map(|(row, _)| (row - part) as u16), steps: steps as u32 });
    }
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
    ShapeError::require(shape.c_in <= u32::MAX as usize, "the number of input channels", shape.c_in, "below 2^32")
}

/// Share of values other than zero in those blocks of four adjacent outputs and one input that are not all zero.
fn block_fill(shape: &ConvShape, weight: &[f32]) -> f64 {
    let k = (shape.c_in * shape.window.taps()).max(1);
    let (mut values, mut blocks) = (0, 0);
    for rows in weight.chunks(4 * k) {
        for column in 0..k {
            let filled = rows[column..].iter().step_by(k).filter(|&&w| w != 0.0).count();
            values += filled;
            blocks += usize::from(filled > 0);
        }
    }
    values as f64 / (4 * blocks).max(1) as f64
}

/// A weight as rows of outputs.
struct Rows<'a> {
    taps: usize,
    c_in: usize,
    weight: &'a [f32],
}

impl Rows<'_> {
    fn at(&self, row: usize, column: Column) -> f32 {
        self.weight[(row * self.c_in + column.channel as usize) * self.taps + column.tap as usize]
    }

    /// In blocks of channels, and in each tap by tap: planes and pixels are read again for the next tap while in cache.
    fn used_columns(&self, c_out: usize) -> Vec<Column> {
        let k = self.taps * self.c_in;
        let mut is_used = vec![false; k];
        for row in self.weight.chunks_exact(k.max(1)).take(c_out) {
            for (is_used, &w) in is_used.iter_mut().zip(row) {
                *is_used |= w != 0.0;
            }
        }
        let of_tap = |channels: Range<usize>, tap: usize| channels.map(move |channel| (tap, channel));
        let of_block = |channels: Range<usize>| (0..self.taps).flat_map(move |tap| of_tap(channels.clone(), tap));
        (0..self.c_in)
            .step_by(CHANNEL_BLOCK)
            .flat_map(|first| of_block(first..self.c_in.min(first + CHANNEL_BLOCK)))
            .filter(|&(tap, channel)| is_used[channel * self.taps + tap])
            .map(|(tap, channel)| Column { tap: tap as u32, channel: channel as u32 })
            .collect()
    }

    fn parts(&self, c_out: usize) -> Vec<Part> {
        let k = self.taps * self.c_in;
        // Group rows are 16 bits wide.
        let wanted = (c_out / (2 * ROW_BLOCK)).clamp(1, MAX_PARTS).max(c_out.div_ceil(1 << 15));
        let cost = |row: usize| self.weight[row * k..][..k].iter().filter(|&&w| w != 0.0).count() + ROW_COST;
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
}
