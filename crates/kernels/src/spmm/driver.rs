//! Cuts a layer into tasks: blocks of pixels, and parts of the output channels where there are few pixels.

use super::gather::Plan;
use super::packed::{PackedSpmm, ROW_BLOCK};
use super::strips::{Strips, Tile};
use crate::activation::Activation;
use crate::conv::{Channels, Images};
use crate::gemm::driver::part;
use crate::threads::{Shareable, Threads};
use std::cell::RefCell;
use std::ops::Range;

/// Floats of the sums of a block: with the slab and the weights they stay in L2.
const MAX_SUMS: usize = 1 << 17;
/// Non-zeros times vectors worth a task of their own, a few microseconds.
const TASK_WORK: usize = 1 << 13;
/// Blocks for each thread from which on one more or less does not matter.
const MANY_BLOCKS: usize = 16;

/// The checked arguments of a call.
pub(super) struct Call<'a> {
    pub input: &'a [f32],
    pub images: Images,
    pub from: Channels,
    pub packed: &'a PackedSpmm,
    pub out_size: [usize; 2],
    /// Of the output, all images.
    pub pixels: usize,
    /// `c_out` floats or null.
    pub bias: *const f32,
    /// Laid out as the output, or null.
    pub residual: *const f32,
    pub activation: Activation,
    pub to: Channels,
    pub out: Shareable<f32>,
}

// SAFETY: the raw pointers are read only (`bias`, `residual`) or written in disjoint blocks (`out`).
unsafe impl Sync for Call<'_> {}

/// What a task works on, and its memory.
pub(super) struct Block<'a> {
    pub place: Place,
    /// Vectors of pixels; lanes of some may be empty.
    pub vectors: usize,
    pub parts: Range<usize>,
    /// `[k_block + 1][vectors · lanes]`, the last of zeros; of bands `[lines + vectors][lanes]`.
    pub slab: *mut f32,
    /// `[rows][vectors · lanes]`, rows up to a multiple of [`ROW_BLOCK`].
    pub sums: *mut f32,
    /// A bias for each of these rows, 0 where there is none.
    pub bias: *mut f32,
    pub plan: &'a mut Plan,
}

/// The output pixels of a block.
#[derive(Clone)]
pub(super) enum Place {
    /// Over all images, flattened; only the last vector may be filled in part.
    Run(Range<usize>),
    Tile(Strips, Tile),
}

impl Block<'_> {
    /// The output pixel of a lane, counted over all vectors.
    #[inline(always)]
    pub fn pixel(&self, lane: usize) -> Option<usize> {
        match &self.place {
            Place::Run(pixels) => Some(pixels.start + lane).filter(|pixel| *pixel < pixels.end),
            Place::Tile(..) => self.plan.pixels.get(lane).copied().flatten(),
        }
    }

    /// Output channels of this block.
    pub fn rows(&self, packed: &PackedSpmm) -> Range<usize> {
        packed.parts[self.parts.start].rows.start..packed.parts[self.parts.end - 1].rows.end
    }
}

/// A cache line, for its alignment.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "reached by pointer")] [f32; 16]);

#[derive(Default)]
struct Memory {
    lines: Vec<Line>,
    plan: Plan,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// Blocks of pixels, and which of them are cut into chunks of parts.
struct Cut {
    strips: Option<Strips>,
    /// Of all runs.
    vectors: usize,
    /// Blocks of all parts.
    whole: usize,
    /// The blocks after them, each cut into `chunks`.
    rest: usize,
    chunks: usize,
    /// Threads that get as many tasks of both kinds each, side by side.
    slots: usize,
}

impl Cut {
    fn blocks(&self) -> usize {
        self.whole + self.rest
    }

    fn tasks(&self) -> usize {
        self.whole + self.rest * self.chunks
    }

    /// Block, chunk and number of chunks.
    fn task(&self, index: usize) -> (usize, usize, usize) {
        let (whole, chunks) = (self.whole / self.slots, self.rest * self.chunks / self.slots);
        let (slot, at) = (index / (whole + chunks), index % (whole + chunks));
        if at < whole {
            return (slot * whole + at, 0, 1);
        }
        let chunk = slot * chunks + at - whole;
        (self.whole + chunk / self.chunks, chunk % self.chunks, self.chunks)
    }
}

impl Call<'_> {
    /// # Safety
    /// The slices and pointers are as large as the shape says, and nobody else uses `out`.
    pub unsafe fn run(&self, threads: &Threads) {
        let cut = self.cut(threads.count());
        let lanes = self.packed.kernel.lanes;
        threads.run(cut.tasks(), |task| {
            let (block, chunk, chunks) = cut.task(task);
            let parts = self.chunk(chunk, chunks);
            let (place, vectors) = match cut.strips {
                Some(strips) => {
                    let tile = strips.tile(block);
                    let vectors = tile.vectors();
                    (Place::Tile(strips, tile), vectors)
                }
                None => {
                    let vectors = part(block, cut.blocks(), cut.vectors);
                    (Place::Run(vectors.start * lanes..self.pixels.min(vectors.end * lanes)), vectors.len())
                }
            };
            if vectors > 0 && !parts.is_empty() {
                // SAFETY: the caller's; tasks are disjoint in pixels or parts.
                unsafe { self.run_block(place, vectors, parts) }
            }
        });
    }

    fn cut(&self, n_threads: usize) -> Cut {
        let kernel = self.packed.kernel;
        let n_parts = self.packed.parts.len();
        let strips = self.packed.bands.as_ref().map(|_| Strips::of(self, kernel.lanes, kernel.vectors));
        let vectors = strips.map_or(self.pixels.div_ceil(kernel.lanes), |strips| strips.vectors());
        let mut blocks = strips.map_or(vectors.div_ceil(kernel.vectors), |strips| strips.blocks());
        let work = vectors * (self.packed.weights.len() + self.packed.columns.len());
        let n_threads = n_threads.min(work / TASK_WORK).max(1);
        if strips.is_none() && n_threads > 1 && blocks < 4 * n_threads {
            // As many for each thread, if they are not too narrow to be worth their slab.
            let even = blocks.next_multiple_of(n_threads);
            if vectors / even >= kernel.vectors.div_ceil(2) {
                blocks = even;
            }
        }
        let wide = strips.map_or(vectors.div_ceil(blocks), |strips| strips.vectors_of_block()) * kernel.lanes;
        let by_size = (self.packed.shape().c_out * wide).div_ceil(MAX_SUMS).min(n_parts);
        if by_size > 1 {
            return Cut { strips, vectors, whole: 0, rest: blocks, chunks: by_size, slots: 1 };
        }
        // Every chunk gathers its inputs again, so only those blocks are cut that are too few for all threads.
        let rest = if blocks < MANY_BLOCKS * n_threads { blocks % n_threads } else { 0 };
        let chunks = (1..=n_threads).find(|n| (rest * n).is_multiple_of(n_threads)).unwrap_or(1);
        if rest == 0 || chunks > n_parts {
            return Cut { strips, vectors, whole: blocks, rest: 0, chunks: 1, slots: 1 };
        }
        Cut { strips, vectors, whole: blocks - rest, rest, chunks, slots: n_threads }
    }

    /// Parts of about a `chunks`-th of the work.
    fn chunk(&self, index: usize, chunks: usize) -> Range<usize> {
        let parts = &self.packed.parts;
        let total: usize = parts.iter().map(|part| part.cost).sum();
        let first = |index: usize| {
            let mut sum = 0;
            let is_before = |cost: usize| {
                sum += cost;
                (2 * sum - cost) * chunks <= 2 * total * index
            };
            parts.iter().map(|part| part.cost).map(is_before).take_while(|&is_before| is_before).count()
        };
        first(index)..if index + 1 == chunks { parts.len() } else { first(index + 1) }
    }

    /// # Safety
    /// As [`Self::run`], and no other call works on these pixels of these parts; they fill `vectors` vectors.
    unsafe fn run_block(&self, place: Place, vectors: usize, parts: Range<usize>) {
        let kernel = self.packed.kernel;
        MEMORY.with_borrow_mut(|memory| {
            let n_rows = self.packed.parts[parts.end - 1].rows.end - self.packed.parts[parts.start].rows.start;
            let n_rows = n_rows.next_multiple_of(ROW_BLOCK);
            let width = vectors * kernel.lanes;
            let slab = (self.packed.zeros() * self.packed.line(width) + width).next_multiple_of(16);
            let lines = (slab + n_rows + n_rows * width).div_ceil(16);
            if memory.lines.len() < lines {
                memory.lines.resize(lines, Line([0.0; 16]));
            }
            let start = memory.lines.as_mut_ptr().cast::<f32>();
            // SAFETY: `lines` counted slab, bias and sums; the rest is the caller's.
            unsafe {
                let (bias, sums) = (start.add(slab), start.add(slab + n_rows));
                let plan = &mut memory.plan;
                let run = kernel.run_on_bands.filter(|_| self.packed.bands.is_some()).unwrap_or(kernel.run);
                run(self, &mut Block { place, vectors, parts, slab: start, sums, bias, plan });
            }
        });
    }
}
