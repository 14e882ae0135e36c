//! Single non-zeros: outputs side by side, each picks the four inputs it needs next out of a window of a pixel's bytes.
//!
//! Rows of weights are scheduled together, `lanes · sets` of them. A *round* is a window, anywhere in a run of adjacent
//! input bytes, and for each row at most four of its non-zeros in that window. Rounds begin at the first non-zero that is
//! left in any row; rows that are ahead take what they find, so a row that is dense here and thin there keeps step.
//! Rows with similar numbers of non-zeros go together, within 64 outputs; their order is restored before finishing.

use super::lines::{self, Line};
use super::source::{MAX_COPY, Padded, Source, runs};
use super::weights::{SparseRows, parts};
use super::{Job, Kernel};
use crate::conv::ConvShape;
use crate::error::ShapeError;
use crate::gemm::driver::part;
use crate::order::smallest_first;
use crate::threads::Threads;
use std::cell::RefCell;
use std::ops::Range;

/// Outputs whose rows may change places.
pub(super) const BLOCK: usize = 64;
/// Rows of a wave of rounds are this many sets of lanes at most.
const MAX_SETS: usize = 2;
/// Bytes of one cache line.
const LINE: usize = 64;
/// Bytes of input that stay in L1 while weights go by, and the most tiles that are finished at once.
const STRIP_BYTES: usize = 24 << 10;
const MAX_STRIP: usize = 4;
/// Rounds times pixels worth a task.
const TASK_WORK: usize = 4096;

/// What one call of the inner loop computes: `sums[pixel][row] = Σ x[pixel][index] · weight` over all rounds.
pub(super) struct GatherTile {
    /// Where the window of each pixel begins.
    pub pixels: *const *const u8,
    /// Runs of input that rounds lie in; where each begins after the pixel, and how many rounds it has.
    pub n_runs: usize,
    pub run_offsets: *const usize,
    pub run_rounds: *const u32,
    /// Where the window of each round begins in its run.
    pub starts: *const u32,
    /// Of each round: the indices into the window, `[sets][lanes][4]`, then the weights alike.
    pub rounds: *const u8,
    /// `[pixels][BLOCK]`.
    pub sums: *mut i32,
}

/// How the outputs of a block changed places; those that are missing in the last one stay where they are.
#[derive(Clone)]
pub(super) struct Order {
    /// Where the sum of each output is.
    pub places: [u8; BLOCK],
    /// Which output's sum is at each place.
    pub outputs: [u8; BLOCK],
}

impl Order {
    /// That of the outputs.
    pub const SAME: Self = {
        let mut same = [0; BLOCK];
        let mut at = 0;
        while at < BLOCK {
            same[at] = at as u8;
            at += 1;
        }
        Self { places: same, outputs: same }
    };

    fn new(order: &[usize]) -> Self {
        let mut new = Self::SAME;
        for (place, &output) in order.iter().enumerate() {
            new.places[output] = place as u8;
            new.outputs[place] = output as u8;
        }
        new
    }
}

/// Rows that share rounds.
#[derive(Clone)]
struct Group {
    sets: usize,
    /// Place of its first row in the block.
    position: usize,
    first_round: usize,
    first_byte: usize,
}

/// All rounds of all rows.
#[derive(Clone)]
pub(super) struct PackedGather {
    groups: Vec<Group>,
    /// Groups of each block of outputs.
    block_groups: Vec<Range<usize>>,
    /// Of each block of outputs.
    orders: Vec<Order>,
    /// Rounds in each run of each group.
    run_rounds: Vec<u32>,
    starts: Vec<u32>,
    rounds: Vec<Line<u8, LINE>>,
    /// Bytes of a run.
    run: usize,
    n_runs: usize,
}

impl PackedGather {
    pub fn new(kernel: &Kernel, shape: &ConvShape, rows: &SparseRows) -> Result<Self, ShapeError> {
        let [n_runs, run] = runs(shape);
        let mut packed = Self {
            groups: Vec::new(),
            block_groups: Vec::new(),
            orders: Vec::new(),
            run_rounds: Vec::new(),
            starts: Vec::new(),
            rounds: Vec::new(),
            run,
            n_runs,
        };
        let mut bytes = Vec::new();
        for block in rows.rows.chunks(BLOCK) {
            let order = smallest_first(block.iter().map(|row| row.len()));
            packed.orders.push(Order::new(&order));
            let first_group = packed.groups.len();
            for (index, members) in order.chunks(kernel.lanes * MAX_SETS).enumerate() {
                let sets = members.len().div_ceil(kernel.lanes);
                let position = index * kernel.lanes * MAX_SETS;
                let (first_round, first_byte) = (packed.starts.len(), bytes.len());
                packed.groups.push(Group { sets, position, first_round, first_byte });
                let rows: Vec<_> = members.iter().map(|&row| split(&block[row])).collect();
                packed.schedule(&rows, kernel.window, kernel.lanes * sets, &mut bytes);
            }
            packed.block_groups.push(first_group..packed.groups.len());
        }
        ShapeError::require(packed.starts.len() < 1 << 30, "the number of rounds", packed.starts.len(), "below 2^30")?;
        let line = |bytes: &[u8]| Line(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0)));
        packed.rounds = bytes.chunks(LINE).map(line).collect();
        Ok(packed)
    }

    /// Appends the rounds of `rows` for a vector of `lanes` rows in all sets together.
    fn schedule(&mut self, rows: &[Vec<(u32, i8)>], window: usize, lanes: usize, bytes: &mut Vec<u8>) {
        let mut next = vec![0; rows.len()];
        for run in 0..self.n_runs {
            let (begin, end) = (run * self.run, (run + 1) * self.run);
            let mut n_rounds = 0;
            loop {
                let left =
                    rows.iter().zip(&next).filter_map(|(row, &at)| row.get(at)).map(|&(column, _)| column as usize);
                let Some(first) = left.min().filter(|&first| first < end) else { break };
                let start = (first - begin).min(self.run.saturating_sub(window));
                let at = bytes.len();
                bytes.resize(at + lanes * 8, 0);
                for (lane, (row, next)) in rows.iter().zip(&mut next).enumerate() {
                    let inside = |&&(column, _): &&(u32, i8)| (column as usize) < (begin + start + window).min(end);
                    let picked = row[*next..].iter().take(4).take_while(inside);
                    for (slot, &(column, weight)) in picked.enumerate() {
                        bytes[at + lane * 4 + slot] = (column as usize - begin - start) as u8;
                        bytes[at + lanes * 4 + lane * 4 + slot] = weight as u8;
                        *next += 1;
                    }
                }
                self.starts.push(start as u32);
                n_rounds += 1;
            }
            self.run_rounds.push(n_rounds);
        }
    }

    pub fn size_bytes(&self) -> usize {
        self.rounds.len() * LINE + (self.starts.len() + self.run_rounds.len()) * 4 + self.orders.len() * 2 * BLOCK
    }
}

fn split(row: &[(u32, i16)]) -> Vec<(u32, i8)> {
    row.iter().flat_map(|&(column, weight)| parts(weight).map(move |part| (column, part))).collect()
}

#[derive(Default)]
struct Scratch {
    copy: Vec<u8>,
    sums: Vec<Line<i32, 16>>,
    pixels: Vec<*const u8>,
    run_offsets: Vec<usize>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Weights whose vectors are outputs.
pub(super) trait Picked: Sync {
    /// Blocks of [`BLOCK`] outputs.
    fn blocks(&self) -> usize;
    /// Steps of the inner loop a pixel.
    fn rounds(&self) -> usize;
    fn weight_bytes(&self) -> usize;
    /// Bytes of input that a pixel needs.
    fn input_bytes(&self) -> usize;
    /// True if windows can be read from the input itself.
    fn is_direct(&self, source: &Source<'_>, kernel: &Kernel) -> bool;
    /// How the sums of a block changed places.
    fn order(&self, _block: usize) -> Option<&Order> {
        None
    }
    /// Writes the sums of a block of outputs, `[pixels][BLOCK]`.
    ///
    /// # Safety
    /// The windows of `pixels` can be read as [`Self::is_direct`] says, there is room for the sums, this CPU runs the variant.
    unsafe fn multiply(&self, job: &Job<'_>, block: usize, pixels: &[*const u8], run_offsets: &[usize], sums: *mut i32);
}

impl Picked for PackedGather {
    fn blocks(&self) -> usize {
        self.orders.len()
    }

    fn rounds(&self) -> usize {
        self.starts.len()
    }

    fn weight_bytes(&self) -> usize {
        self.rounds.len() * LINE
    }

    fn input_bytes(&self) -> usize {
        self.run * self.n_runs
    }

    fn is_direct(&self, source: &Source<'_>, kernel: &Kernel) -> bool {
        source.is_direct(self.run, kernel.window)
    }

    fn order(&self, block: usize) -> Option<&Order> {
        Some(&self.orders[block])
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
        for index in self.block_groups[block].clone() {
            let group = &self.groups[index];
            let mut tile = GatherTile {
                pixels: pixels.as_ptr(),
                n_runs: self.n_runs,
                run_offsets: run_offsets.as_ptr(),
                run_rounds: self.run_rounds[index * self.n_runs..].as_ptr(),
                starts: self.starts[group.first_round..].as_ptr(),
                rounds: self.rounds.as_ptr().cast::<u8>().wrapping_add(group.first_byte),
                sums: sums.wrapping_add(group.position),
            };
            for index in 0..n_tiles {
                let len = part(index, n_tiles, pixels.len()).len();
                // SAFETY: the caller's; windows of rounds are inside of the runs, or in the bytes to spare of a copy.
                unsafe { (job.kernel.gather)(len, group.sets, &tile) };
                tile.pixels = tile.pixels.wrapping_add(len);
                tile.sums = tile.sums.wrapping_add(len * BLOCK);
            }
        }
    }
}

impl Job<'_> {
    /// # Safety
    /// As `Job`'s: `finish` is valid for all outputs, the input is as long as its shape, this CPU runs the variant.
    pub unsafe fn run_gather(&self, threads: &Threads, packed: &impl Picked) {
        let is_direct = packed.is_direct(&self.source, self.kernel);
        let [row_parts, block_parts] = self.cut(threads.count(), packed, is_direct);
        // Pixels that stay in cache while all weights go by; with more of them, weights are read less often.
        let strip = STRIP_BYTES / packed.input_bytes().max(1) / self.kernel.tile_pixels;
        let strip = strip.clamp(1, MAX_STRIP) * self.kernel.tile_pixels;
        threads.run(row_parts * block_parts, |task| {
            let pixels = part(task / block_parts, row_parts, self.m);
            let blocks = part(task % block_parts, block_parts, packed.blocks());
            if pixels.is_empty() || blocks.is_empty() {
                return;
            }
            SCRATCH.with_borrow_mut(|scratch| {
                let padded =
                    if is_direct { self.source.direct() } else { self.source.copy(&pixels, &mut scratch.copy) };
                self.source.run_offsets(&padded, &mut scratch.run_offsets);
                let strips = pixels.len().div_ceil(strip);
                for index in 0..strips {
                    let some = part(index, strips, pixels.len());
                    let some = pixels.start + some.start..pixels.start + some.end;
                    // SAFETY: the caller's; the copy covers these pixels.
                    unsafe { self.gather_strip(packed, &padded, some, blocks.clone(), scratch) };
                }
            });
        });
    }

    /// Parts along the pixels and along the blocks of outputs.
    fn cut(&self, n_threads: usize, packed: &impl Picked, is_direct: bool) -> [usize; 2] {
        let (n_tiles, n_blocks) = (self.m.div_ceil(self.kernel.tile_pixels), packed.blocks());
        let by_size = if is_direct { 1 } else { self.source.len().div_ceil(MAX_COPY).clamp(1, n_tiles) };
        if n_threads == 1 {
            return [by_size, 1];
        }
        // Finishing the outputs of a block costs about as much as some rounds.
        let work = self.m.saturating_mul(packed.rounds() + n_blocks * 8);
        let wanted = (work / TASK_WORK).clamp(1, 4 * n_threads);
        let weight_bytes = packed.weight_bytes();
        let is_by_blocks = n_blocks >= n_threads && weight_bytes > self.source.input.len();
        if is_by_blocks || n_tiles < n_threads {
            let most = if is_direct { n_blocks } else { n_blocks.min(2 * n_threads) };
            [by_size, wanted.div_ceil(by_size).min(most)]
        } else {
            let row_parts = by_size.max(wanted.min(n_tiles));
            [row_parts, (wanted / row_parts).clamp(1, n_blocks)]
        }
    }

    /// # Safety
    /// As [`Self::run_gather`], `padded` holds these pixels, and nobody else writes these outputs.
    unsafe fn gather_strip(
        &self,
        packed: &impl Picked,
        padded: &Padded,
        pixels: Range<usize>,
        blocks: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let n_pixels = pixels.len();
        self.source.windows(padded, pixels.clone(), &mut scratch.pixels);
        let sums = lines::grow(&mut scratch.sums, n_pixels * BLOCK).as_mut_ptr();
        for block in blocks {
            // SAFETY: the caller's.
            unsafe { packed.multiply(self, block, &scratch.pixels, &scratch.run_offsets, sums) };
            let first = block * BLOCK;
            let n_cols = BLOCK.min(self.n - first);
            let finish = self.finish.at(pixels.start, first);
            // SAFETY: the caller's; there are that many sums.
            unsafe {
                (self.kernel.finish_block)(&finish, sums, n_pixels, n_cols, packed.order(block));
                finish.apply_curve(self.activation, n_pixels, n_cols);
            }
        }
    }
}
