//! Non-zeros dealt to the lanes of a vector, round by round.

use super::lanes::AHEAD;
use super::{DEPTH, Kernel};
use crate::error::ShapeError;
use crate::order::largest_first;
use std::ops::Range;

/// Constant weights of a linear layer for few rows of input, only those that are not zero.
///
/// Outputs are sorted by their non-zeros and grouped, one to a lane. In a round each lane that has its next non-zero
/// inside of a window of two vectors of inputs takes it; the others add nothing.
#[derive(Clone)]
pub struct PackedSpmv {
    pub(super) kernel: &'static Kernel,
    pub(super) k: usize,
    pub(super) n: usize,
    nonzeros: usize,
    /// The output of each lane of each group; `n` where there is none.
    pub(super) rows: Vec<u32>,
    pub(super) groups: Vec<Range<usize>>,
    /// Of all groups.
    pub(super) rounds: usize,
    /// First input of the window of each round of each group, and [`AHEAD`] more.
    pub(super) starts: Vec<u32>,
    /// Of 1x4 blocks, instead of starts and picks: the fours of inputs that each output of each round has.
    pub(super) quads: Vec<u16>,
    /// Weights of each lane of each round.
    pub(super) weights: Vec<f32>,
    /// Positions in the window of each lane of each round.
    pub(super) picks: Vec<u8>,
}

impl PackedSpmv {
    /// Packs `weight`, `[k, n]`, or `[n, k]` if it is transposed, for the fastest kernel of this CPU.
    ///
    /// # Errors
    /// [`ShapeError`] if `weight` has another length.
    pub fn new(weight: &[f32], k: usize, n: usize, is_transposed: bool) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(1), weight, k, n, is_transposed)
    }

    /// [`Self::new`] for weights in blocks of 1x4: of four adjacent inputs of an output, all or none are zero. A block with any
    /// weight is multiplied whole.
    ///
    /// # Errors
    /// [`ShapeError`] if `weight` has another length, or there are more than 2^18 inputs.
    pub fn new_1x4(weight: &[f32], k: usize, n: usize, is_transposed: bool) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(DEPTH), weight, k, n, is_transposed)
    }

    /// Packs for one variant of [`KERNELS`](super::KERNELS).
    ///
    /// # Errors
    /// As [`Self::new`] and [`Self::new_1x4`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(
        kernel: &'static Kernel,
        weight: &[f32],
        k: usize,
        n: usize,
        is_transposed: bool,
    ) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        ShapeError::expect("weight", weight.len(), ShapeError::product("weight", &[k, n])?)?;
        ShapeError::require(k.max(n) < u32::MAX as usize, "a size of the weight", k.max(n), "below 2^32 - 1")?;
        let most = if kernel.depth > 1 { DEPTH << 16 } else { usize::MAX };
        ShapeError::require(k <= most, "the number of inputs", k, "at most 2^18")?;
        let [row_stride, col_stride] = if is_transposed { [k, 1] } else { [1, n] };
        let row = |row: usize| {
            let of_row = (0..k).map(move |col| (col, weight[row * row_stride + col * col_stride]));
            of_row.filter(|&(_, w)| w != 0.0).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<(usize, f32)>> = (0..n).map(row).collect();
        let order = largest_first(rows.iter().map(Vec::len));
        let rows: Vec<(usize, &[(usize, f32)])> = order.into_iter().map(|at| (at, rows[at].as_slice())).collect();
        let mut packed = Self {
            kernel,
            k,
            n,
            nonzeros: rows.iter().map(|(_, row)| row.len()).sum(),
            rows: Vec::new(),
            groups: Vec::new(),
            rounds: 0,
            starts: Vec::new(),
            quads: Vec::new(),
            weights: Vec::new(),
            picks: Vec::new(),
        };
        if kernel.depth > 1 {
            let rows: Vec<_> = rows.iter().map(|(index, row)| (*index, in_quads(row))).collect();
            let order = largest_first(rows.iter().map(|(_, quads)| quads.len()));
            let rows: Vec<_> = order.into_iter().map(|at| (rows[at].0, rows[at].1.as_slice())).collect();
            rows.chunks(kernel.lanes).for_each(|group| packed.push_quads(group));
            return Ok(packed);
        }
        for group in rows.chunks(kernel.lanes) {
            packed.push(group);
        }
        packed.rounds = packed.starts.len();
        packed.starts.extend([0; AHEAD]);
        Ok(packed)
    }

    fn push(&mut self, group: &[(usize, &[(usize, f32)])]) {
        let (lanes, window) = (self.kernel.lanes, self.kernel.window);
        let first = self.starts.len();
        let mut rest: Vec<&[(usize, f32)]> = group.iter().map(|(_, row)| &row[..]).collect();
        while let Some(next) = rest.iter().filter_map(|rest| Some(rest.first()?.0)).min() {
            let start = next / lanes * lanes;
            self.starts.push(start as u32);
            for lane in 0..lanes {
                let next = rest.get(lane).and_then(|rest| rest.first()).filter(|(col, _)| *col < start + window);
                let (col, weight) = next.copied().unwrap_or((start, 0.0));
                if next.is_some() {
                    rest[lane] = &rest[lane][1..];
                }
                self.weights.push(weight);
                self.picks.push((col - start) as u8);
            }
        }
        self.groups.push(first..self.starts.len());
        let rows = (0..lanes).map(|lane| group.get(lane).map_or(self.n, |(row, _)| *row) as u32);
        self.rows.extend(rows);
    }

    fn push_quads(&mut self, group: &[(usize, &[Quad])]) {
        let (lanes, first) = (self.kernel.lanes, self.rounds);
        self.rounds += group.iter().map(|(_, quads)| quads.len()).max().unwrap_or(0);
        for round in 0..self.rounds - first {
            for lane in 0..lanes {
                let quad = group.get(lane).and_then(|(_, quads)| quads.get(round));
                let (at, weights) = quad.copied().unwrap_or_default();
                self.quads.push(at);
                self.weights.extend(weights);
            }
        }
        self.groups.push(first..self.rounds);
        self.rows.extend((0..lanes).map(|lane| group.get(lane).map_or(self.n, |(row, _)| *row) as u32));
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Name of the variant of [`KERNELS`](super::KERNELS) that runs it.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        size_of_val(&self.rows[..])
            + size_of_val(&self.groups[..])
            + size_of_val(&self.starts[..])
            + size_of_val(&self.quads[..])
            + size_of_val(&self.weights[..])
            + size_of_val(&self.picks[..])
    }

    /// Weights that are not zero.
    pub fn nonzeros(&self) -> usize {
        self.nonzeros
    }
}

/// Which four inputs, and their weights.
type Quad = (u16, [f32; DEPTH]);

/// Non-zeros of a row, ascending, with the zeros beside them.
fn in_quads(row: &[(usize, f32)]) -> Vec<Quad> {
    let quad = |nonzeros: &[(usize, f32)]| {
        let mut weights = [0.0; DEPTH];
        nonzeros.iter().for_each(|&(col, weight)| weights[col % DEPTH] = weight);
        ((nonzeros[0].0 / DEPTH) as u16, weights)
    };
    row.chunk_by(|a, b| a.0 / DEPTH == b.0 / DEPTH).map(quad).collect()
}

impl std::fmt::Debug for PackedSpmv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedSpmv([{}, {}], {} non-zeros for {})", self.k, self.n, self.nonzeros, self.kernel.name)
    }
}
