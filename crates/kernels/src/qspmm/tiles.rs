//! The forms whose vectors are pixels: a tile of pixels at a time is brought into a slab, a part of K after the other, against
//! which all weights are multiplied.

use super::lines::{self, Line};
use super::slab::{Reader, SLAB, Slab};
use super::source::MAX_COPY;
use super::{Job, Weight, gather::BLOCK};
use crate::gemm::driver::part;
use crate::qgemm::finish::{Kind, Requantized};
use crate::threads::Threads;
use std::cell::RefCell;
use std::ops::Range;

/// Multiply-adds of a vector worth a task.
const TASK_WORK: usize = 8192;

/// What the rows of a block of outputs are summed from and to, in one part of K.
pub(super) struct Sums {
    /// Pixels, as the form has them.
    pub slab: *const u32,
    /// Outputs, at most `BLOCK`.
    pub rows: usize,
    /// `[BLOCK][pixels]`.
    pub sums: *mut i32,
    /// False at the first part of K.
    pub accumulate: bool,
    /// At the last part of K: where to put the sums as bytes instead, if the variant can.
    pub bytes: Option<RowBytes>,
}

impl Sums {
    /// True if bytes are made here, to which a residual is added.
    pub fn has_residual(&self) -> bool {
        self.bytes.as_ref().is_some_and(|bytes| !bytes.residual.is_null())
    }
}

/// What makes bytes of the sums of each row, as `finish::Requantized` says.
#[derive(Clone, Copy)]
pub(super) struct RowBytes {
    pub offsets: *const i32,
    pub multipliers: *const f32,
    pub min: f32,
    pub max: f32,
    pub shift: i16,
    /// The clamp as bytes, and if it is enough: no value before it leaves i32.
    pub low: u8,
    pub high: u8,
    pub is_small: bool,
    pub flip: u8,
    /// `[rows][parts of four vectors][64]`; of each four vectors, four pixels in turn.
    pub to: *mut u8,
    /// What is added, or null: `[parts of four vectors][BLOCK][64]` in the order of `take_apart`, unsigned.
    pub residual: *const u8,
    pub residual_zero: f32,
    pub residual_multiplier: f32,
}

#[derive(Default)]
struct Scratch {
    copy: Vec<u8>,
    slab: Slab,
    sums: Vec<Line<i32, 16>>,
    block_sums: Vec<Line<i32, 16>>,
    bytes: Vec<Line<u8, 64>>,
    residual: Vec<Line<u8, 64>>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Job<'_> {
    /// # Safety
    /// As `Job`'s: `finish` is valid for all outputs, the input is as long as its shape, this CPU runs the variant.
    pub unsafe fn run_tiles(&self, threads: &Threads, packed: &Weight) {
        let n_blocks = self.n.div_ceil(BLOCK);
        let n_vectors = self.m.div_ceil(16);
        let n_tiles = n_vectors.div_ceil(packed.tile_vectors(self.kernel));
        let work = n_vectors.saturating_mul(packed.products() + self.n * 8);
        let wanted = if threads.count() == 1 { 1 } else { (work / TASK_WORK).clamp(1, 4 * threads.count()) };
        let reader = Reader::new(&self.source);
        let by_size = if reader == Reader::Copy { self.source.len().div_ceil(MAX_COPY).clamp(1, n_tiles) } else { 1 };
        // Parts along the outputs copy and transpose the same pixels again.
        let row_parts = wanted.min(n_tiles).max(by_size);
        let block_parts = (wanted / row_parts).min(threads.count()).clamp(1, n_blocks);
        let n_tiles = n_tiles.next_multiple_of(row_parts).min(n_vectors);
        threads.run(row_parts * block_parts, |task| {
            let tiles = part(task / block_parts, row_parts, n_tiles);
            let blocks = part(task % block_parts, block_parts, n_blocks);
            if tiles.is_empty() || blocks.is_empty() {
                return;
            }
            let first_vector = |tile: usize| tile * n_vectors / n_tiles;
            let pixels = first_vector(tiles.start) * 16..self.m.min(first_vector(tiles.end) * 16);
            SCRATCH.with_borrow_mut(|scratch| {
                let padded = match reader {
                    Reader::Copy => self.source.copy(&pixels, &mut scratch.copy),
                    Reader::Direct | Reader::Unfold => self.source.direct(),
                };
                for tile in tiles {
                    let vectors = first_vector(tile)..first_vector(tile + 1);
                    let rows = vectors.start * 16..self.m.min(vectors.end * 16);
                    scratch.slab.locate(&self.source, &padded, rows, reader);
                    // SAFETY: the caller's; the copy covers these pixels.
                    unsafe { self.block_tile(packed, vectors, blocks.clone(), scratch) };
                }
            });
        });
    }

    /// # Safety
    /// As [`Self::run_tiles`], and nobody else writes these outputs.
    unsafe fn block_tile(&self, packed: &Weight, vectors: Range<usize>, blocks: Range<usize>, scratch: &mut Scratch) {
        let rows = vectors.start * 16..self.m.min(vectors.end * 16);
        let pixels = vectors.len() * 16;
        let sums = lines::grow(&mut scratch.sums, blocks.len() * BLOCK * pixels);
        let block_sums = lines::grow(&mut scratch.block_sums, BLOCK * pixels);
        let bytes_stride = pixels.next_multiple_of(64);
        let bytes = lines::grow(&mut scratch.bytes, blocks.len() * BLOCK * bytes_stride);
        let k = self.source.shape.c_in * self.source.shape.window.taps();
        let n_parts = k.div_ceil(SLAB).max(1);
        let is_single = matches!(packed, Weight::Blocks4x1(_));
        for index in 0..n_parts {
            let ks = index * SLAB..k.min((index + 1) * SLAB);
            // SAFETY: the caller's.
            unsafe { scratch.slab.fill(&self.source, self.kernel, ks, is_single) };
            for block in blocks.clone() {
                let at = block * n_parts + index;
                let to = bytes[(block - blocks.start) * BLOCK * bytes_stride..].as_mut_ptr();
                let mut bytes = self.row_bytes(block, to).filter(|_| index + 1 == n_parts);
                if let Some(bytes) = bytes.as_mut().filter(|bytes| !bytes.residual.is_null()) {
                    // SAFETY: the caller's.
                    unsafe { self.transpose_residual(bytes, rows.clone(), block_sums, &mut scratch.residual) };
                }
                let sums = Sums {
                    slab: scratch.slab.as_ptr(),
                    rows: BLOCK.min(self.n - block * BLOCK),
                    sums: sums[(block - blocks.start) * BLOCK * pixels..].as_mut_ptr(),
                    accumulate: index > 0,
                    bytes,
                };
                // SAFETY: the caller's; slab and sums are as large as `Sums` says.
                unsafe {
                    match packed {
                        Weight::Blocks(packed) => (self.kernel.blocks)(vectors.len(), &packed.tile(at, sums)),
                        Weight::Blocks4x1(packed) => (self.kernel.blocks_4x1)(vectors.len(), &packed.tile(at, sums)),
                        Weight::Gather(_) | Weight::TwoOfFour(_) => {
                            unreachable!("lanes of their vectors are no pixels")
                        }
                    }
                }
            }
        }
        for block in blocks.clone() {
            let (at, n_cols) = ((block - blocks.start) * BLOCK, BLOCK.min(self.n - block * BLOCK));
            let finish = self.finish.at(rows.start, block * BLOCK);
            let is_bytes = self.row_bytes(block, std::ptr::null_mut()).is_some();
            if let (Some(transpose), Kind::Bytes(kind), true) = (self.kernel.transpose_bytes, finish.kind, is_bytes) {
                for first in (0..rows.len()).step_by(64) {
                    let from = bytes[at * bytes_stride + first..].as_ptr();
                    let size = [(rows.len() - first).min(64), n_cols];
                    // SAFETY: the caller's; the bytes are there.
                    unsafe {
                        let to = kind.out.add(first * self.n);
                        transpose(from, bytes_stride, to, self.n, size, block_sums.as_mut_ptr().cast());
                    }
                }
                continue;
            }
            for row in (0..n_cols).step_by(16) {
                for pixel in (0..pixels).step_by(16) {
                    let from = |index: usize| sums[(at + row + index) * pixels + pixel..].as_ptr().cast();
                    let to = block_sums[pixel * BLOCK + row..].as_mut_ptr().cast();
                    // SAFETY: whole blocks of 16 by 16 are there.
                    unsafe { (self.kernel.transpose)(&std::array::from_fn(from), to, BLOCK) };
                }
            }
            // SAFETY: the caller's.
            unsafe {
                (self.kernel.finish_block)(&finish, block_sums.as_mut_ptr(), rows.len(), n_cols, None);
                finish.apply_curve(self.activation, rows.len(), n_cols);
            }
        }
    }

    /// What makes bytes of the sums of `block`, if that is wanted and possible.
    fn row_bytes(&self, block: usize, to: *mut u8) -> Option<RowBytes> {
        let finish = self.finish.at(0, block * BLOCK);
        let Kind::Bytes(kind) = finish.kind else { return None };
        // A residual is read in whole lines of 64 outputs.
        let can_add = kind.residual.is_null() || kind.is_small && (block + 1) * BLOCK <= self.n;
        if self.kernel.transpose_bytes.is_none() || !super::is_small(&kind) || !can_add {
            return None;
        }
        let Requantized { multipliers, residual, residual_multiplier, min, max, shift, flip, is_small, .. } = kind;
        let [low, high] = kind.bytes_clamp();
        let (offsets, shift) = (finish.offsets, shift as i16);
        // Signed ones are made 128 higher.
        let residual_zero = kind.residual_zero + if kind.residual_flip == 0 { 0.0 } else { 128.0 };
        Some(RowBytes {
            offsets,
            multipliers,
            min,
            max,
            shift,
            low,
            high,
            is_small,
            flip,
            to,
            residual,
            residual_zero,
            residual_multiplier,
        })
    }

    /// Turns the residual of the first output pixel and of a block of outputs, where `bytes` has it, into that of some pixels by
    /// outputs.
    ///
    /// # Safety
    /// As [`Self::run_tiles`], and `some` holds 64 pixels of a block.
    unsafe fn transpose_residual(
        &self,
        bytes: &mut RowBytes,
        pixels: Range<usize>,
        some: &mut [i32],
        memory: &mut Vec<Line<u8, 64>>,
    ) {
        let parts = pixels.len().div_ceil(64);
        let to = lines::grow(memory, parts * BLOCK * 64);
        for (part, to) in to.chunks_exact_mut(BLOCK * 64).enumerate().take(parts) {
            let first = pixels.start + part * 64;
            for vector in (first..pixels.end.min(first + 64)).step_by(16) {
                let row = |index: usize| bytes.residual.wrapping_add((vector + index).min(pixels.end - 1) * self.n);
                let to = some[vector - first..].as_mut_ptr().cast();
                // SAFETY: the caller's; the block has 64 outputs.
                unsafe { (self.kernel.transpose)(&std::array::from_fn(row), to, 64) };
            }
            // SAFETY: both hold 64 pixels of 64 outputs.
            unsafe { (self.kernel.take_apart)(some.as_ptr().cast(), to.as_mut_ptr(), BLOCK / 4) };
        }
        if let Kind::Bytes(kind) = self.finish.kind
            && kind.residual_flip != 0
        {
            to[..parts * BLOCK * 64].iter_mut().for_each(|byte| *byte ^= kind.residual_flip);
        }
        bytes.residual = to.as_ptr();
    }
}
