//! Cuts a layer into tasks: blocks of pixels, and parts of the output channels where there are few pixels.

use super::gather::Plan;
use super::packed::{PackedSpmm, ROW_BLOCK};
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
    /// Output pixels over all images, flattened.
    pub pixels: Range<usize>,
    /// Vectors they fill; the last may be part of one.
    pub vectors: usize,
    pub parts: Range<usize>,
    /// `[k_block + 1][vectors · lanes]`, the last of zeros.
    pub slab: *mut f32,
    /// `[rows][vectors · lanes]`, rows up to a multiple of [`ROW_BLOCK`].
    pub sums: *mut f32,
    /// A bias for each of these rows, 0 where there is none.
    pub bias: *mut f32,
    pub plan: &'a mut Plan,
}

impl Block<'_> {
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

/// `blocks` of pixels times `chunks` of parts.
struct Cut {
    vectors: usize,
    blocks: usize,
    chunks: usize,
}

impl Call<'_> {
    /// # Safety
    /// The slices and pointers are as large as the shape says, and nobody else uses `out`.
    pub unsafe fn run(&self, threads: &Threads) {
        let cut = self.cut(threads.count());
        threads.run(cut.blocks * cut.chunks, |task| {
            let vectors = part(task / cut.chunks, cut.blocks, cut.vectors);
            let parts = self.chunk(task % cut.chunks, cut.chunks);
            if !vectors.is_empty() && !parts.is_empty() {
                // SAFETY: the caller's; tasks are disjoint in pixels or parts.
                unsafe { self.run_block(vectors, parts) }
            }
        });
    }

    fn cut(&self, n_threads: usize) -> Cut {
        let kernel = self.packed.kernel;
        let n_parts = self.packed.parts.len();
        let vectors = self.pixels.div_ceil(kernel.lanes);
        let mut blocks = vectors.div_ceil(kernel.vectors);
        let work = vectors * (self.packed.weights.len() + self.packed.columns.len());
        let n_threads = n_threads.min(work / TASK_WORK).max(1);
        if n_threads > 1 && blocks < 4 * n_threads {
            // As many for each thread, if they are not too narrow to be worth their slab.
            let even = blocks.next_multiple_of(n_threads);
            if vectors / even >= kernel.vectors.div_ceil(2) {
                blocks = even;
            }
        }
        let wide = vectors.div_ceil(blocks) * kernel.lanes;
        let by_size = (self.packed.shape().c_out * wide).div_ceil(MAX_SUMS);
        // Every chunk gathers its inputs again, so there are only as many as make an equal number for each thread.
        let by_threads = if blocks >= 4 * n_threads {
            1
        } else {
            (1..).find(|n| (blocks * n).is_multiple_of(n_threads)).unwrap_or(1)
        };
        Cut { vectors, blocks, chunks: by_size.max(by_threads).min(n_parts) }
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
    /// As [`Self::run`], and no other call works on these vectors of these parts.
    unsafe fn run_block(&self, vectors: Range<usize>, parts: Range<usize>) {
        let kernel = self.packed.kernel;
        MEMORY.with_borrow_mut(|memory| {
            let n_rows = self.packed.parts[parts.end - 1].rows.end - self.packed.parts[parts.start].rows.start;
            let n_rows = n_rows.next_multiple_of(ROW_BLOCK);
            let width = vectors.len() * kernel.lanes;
            let slab = (width * (kernel.k_block + 1)).next_multiple_of(16);
            let lines = (slab + n_rows + n_rows * width).div_ceil(16);
            if memory.lines.len() < lines {
                memory.lines.resize(lines, Line([0.0; 16]));
            }
            let start = memory.lines.as_mut_ptr().cast::<f32>();
            let pixels = vectors.start * kernel.lanes..self.pixels.min(vectors.end * kernel.lanes);
            // SAFETY: `lines` counted slab, bias and sums; the rest is the caller's.
            unsafe {
                let (bias, sums) = (start.add(slab), start.add(slab + n_rows));
                let plan = &mut memory.plan;
                (kernel.run)(self, &mut Block { pixels, vectors: vectors.len(), parts, slab: start, sums, bias, plan });
            }
        });
    }
}
