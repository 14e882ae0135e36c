//! Two of four adjacent inputs: outputs side by side, as [`gather`](super::gather) has them, but where each finds its inputs needs
//! no schedule: a step is eight inputs, of which each output multiplies four.
//!
//! Groups of four are along the runs of adjacent input bytes. Weights that keep more of some group take another pass.

use super::gather::{BLOCK, Picked};
use super::lines::Line;
use super::source::{Source, runs};
use super::weights::{SparseRows, parts};
use super::{Job, Kernel};
use crate::conv::ConvShape;
use crate::gemm::driver::part;
use std::ops::Range;

/// Vectors of outputs that share a load of inputs.
pub(super) const SETS: usize = 2;
/// Inputs of a step.
pub(super) const STEP: usize = 8;
/// Steps whose choices are one word of each output.
pub(super) const CHUNK: usize = 4;
/// Bytes that are read at once.
const WINDOW: usize = 32;
/// Bytes of one cache line.
const LINE: usize = 64;

/// What one call of the inner loop computes: `sums[pixel][row]` over all inputs.
pub(super) struct Tile24 {
    /// Where the window of each pixel begins.
    pub pixels: *const *const u8,
    pub passes: usize,
    /// Runs of input, where each begins after the pixel, and the steps of each.
    pub n_runs: usize,
    pub run_offsets: *const usize,
    pub steps: usize,
    /// Of each pass, run and chunk of steps: a word of choices `[sets][lanes]`, two bits for each weight, of each group of four
    /// inputs two; then of each step the weights, `[sets][lanes][4]`.
    pub data: *const u8,
    /// `[pixels][BLOCK]`.
    pub sums: *mut i32,
}

/// Two weights and four bits for each group of four inputs.
#[derive(Clone)]
pub(super) struct Packed24 {
    n_blocks: usize,
    /// Outputs that are multiplied at once.
    width: usize,
    passes: usize,
    /// Bytes of a run, and steps in it.
    run: usize,
    n_runs: usize,
    steps: usize,
    data: Vec<Line<u8, LINE>>,
}

impl Packed24 {
    pub fn new(kernel: &Kernel, shape: &ConvShape, rows: &SparseRows) -> Self {
        let [n_runs, run] = runs(shape);
        let rows: Vec<_> = rows.rows.iter().map(|row| in_groups(row, run)).collect();
        let fullest = |row: &Vec<Group>| row.iter().map(|group| group.1.len()).max().unwrap_or(0);
        let passes = rows.iter().map(fullest).max().unwrap_or(0).div_ceil(2).max(1);
        let (width, steps) = (kernel.lanes * SETS, run.div_ceil(STEP));
        let n_blocks = rows.len().div_ceil(BLOCK);
        let mut packed = Self { n_blocks, width, passes, run, n_runs, steps, data: Vec::new() };
        let mut bytes = vec![0u8; rows.len().div_ceil(width) * packed.group_bytes()];
        for (output, row) in rows.iter().enumerate() {
            let first = output / width * packed.group_bytes();
            for (at, kept) in row {
                for (index, &(choice, weight)) in kept.iter().enumerate() {
                    let (pass, half) = (index / 2, at % 2);
                    let [choices, weights] = packed.places(pass, at / 2 / steps.max(1), at / 2 % steps.max(1));
                    let (lane, slot) = (output % width, half * 2 + index % 2);
                    let bit = 8 * (at / 2 % steps.max(1) % CHUNK) + 2 * slot;
                    bytes[first + choices + lane * 4 + bit / 8] |= choice << (bit % 8);
                    bytes[first + weights + lane * 4 + slot] = weight as u8;
                }
            }
        }
        let line = |bytes: &[u8]| Line(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0)));
        packed.data = bytes.chunks(LINE).map(line).collect();
        packed
    }

    /// Bytes of one run of `width` outputs.
    fn run_bytes(&self) -> usize {
        (self.steps.div_ceil(CHUNK) + self.steps) * self.width * 4
    }

    /// Bytes of `width` outputs.
    fn group_bytes(&self) -> usize {
        self.passes * self.n_runs * self.run_bytes()
    }

    /// Where the choices and the weights of a step are, in the bytes of `width` outputs.
    fn places(&self, pass: usize, run: usize, step: usize) -> [usize; 2] {
        let (chunk, line) = (step / CHUNK, self.width * 4);
        let choices = (pass * self.n_runs + run) * self.run_bytes() + chunk * (CHUNK + 1) * line;
        [choices, choices + (1 + step % CHUNK) * line]
    }

    pub fn size_bytes(&self) -> usize {
        self.data.len() * LINE
    }
}

/// Place of a group of four inputs, counted in whole steps of each run, and what is kept of it: which, and the weight.
type Group = (usize, Vec<(u8, i8)>);

/// Large weights are kept several times.
fn in_groups(row: &[(u32, i16)], run: usize) -> Vec<Group> {
    let groups_of_run = run.div_ceil(STEP) * 2;
    let place = |column: u32| column as usize / run.max(1) * groups_of_run + column as usize % run.max(1) / 4;
    let group = |of_one: &[(u32, i16)]| {
        let kept = of_one.iter().flat_map(|&(column, weight)| {
            parts(weight).map(move |part| ((column as usize % run.max(1) % 4) as u8, part))
        });
        (place(of_one[0].0), kept.collect())
    };
    row.chunk_by(|a, b| place(a.0) == place(b.0)).map(group).collect()
}

impl Picked for Packed24 {
    fn blocks(&self) -> usize {
        self.n_blocks
    }

    fn rounds(&self) -> usize {
        self.n_blocks * BLOCK / self.width * self.passes * self.n_runs * self.steps
    }

    fn weight_bytes(&self) -> usize {
        self.size_bytes()
    }

    fn input_bytes(&self) -> usize {
        self.run * self.n_runs
    }

    fn is_direct(&self, source: &Source<'_>, _: &Kernel) -> bool {
        self.run.is_multiple_of(WINDOW) && source.is_direct(self.run, WINDOW)
    }

    unsafe fn multiply(
        &self,
        job: &Job<'_>,
        block: usize,
        pixels: &[*const u8],
        run_offsets: &[usize],
        sums: *mut i32,
    ) {
        let n_tiles = pixels.len().div_ceil(job.kernel.tile_pixels);
        let groups: Range<usize> = block * BLOCK / self.width..job.n.min((block + 1) * BLOCK).div_ceil(self.width);
        for group in groups {
            let mut tile = Tile24 {
                pixels: pixels.as_ptr(),
                passes: self.passes,
                n_runs: self.n_runs,
                run_offsets: run_offsets.as_ptr(),
                steps: self.steps,
                data: self.data.as_ptr().cast::<u8>().wrapping_add(group * self.group_bytes()),
                sums: sums.wrapping_add(group * self.width % BLOCK),
            };
            for index in 0..n_tiles {
                let len = part(index, n_tiles, pixels.len()).len();
                // SAFETY: the caller's; steps are inside of the runs, or in the bytes to spare of a copy.
                unsafe { (job.kernel.two_of_four)(len, &tile) };
                tile.pixels = tile.pixels.wrapping_add(len);
                tile.sums = tile.sums.wrapping_add(len * BLOCK);
            }
        }
    }
}
