//! Cuts a pass into tasks: groups of images, and bands of tiles in them.

use super::Kernel;
use super::geometry::{Axis, Pass};
use super::lanes::{End, Grid, Run};
use super::pattern::{Block, Pattern};
use crate::activation::Activation;
use crate::conv::Images;
use crate::gemm::driver::part;
use crate::threads::{Shareable, Threads};
use std::cell::RefCell;
use std::ops::Range;

/// Parts of a weight gradient, about: the same at any number of threads.
const PARTS: usize = 16;
/// Weights whose parts are added by one task.
const CHUNK: usize = 1 << 13;
/// Floats of both images from which on they are too many for the last cache, so that they are asked for ahead of time.
const FAR: usize = if cfg!(test) { 1 << 10 } else { 6 << 20 };

/// A cache line, for its alignment.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "reached by pointer")] [f32; 16]);

/// A slab, a tile, and where the pixels of both are.
#[derive(Default)]
struct Memory {
    lines: Vec<Line>,
    read: [Vec<Option<usize>>; 2],
    tile: [Vec<Option<usize>>; 2],
    /// Those of the next tile.
    next: [Vec<Option<usize>>; 2],
    next_tile: [Vec<Option<usize>>; 2],
    /// Cache lines to ask for while the loops run, `asks` for each row of the pattern.
    ahead: Vec<*const f32>,
    asks: usize,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
    /// Parts of a weight gradient, kept from call to call: fresh pages cost more than what is written to them.
    static GRADIENTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Memory {
    /// Slab and tile.
    fn floats(&mut self, slab: usize, tile: usize) -> [*mut f32; 2] {
        let slab = slab.next_multiple_of(16);
        let lines = slab / 16 + tile.div_ceil(16);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; 16]));
        }
        let start = self.lines.as_mut_ptr().cast::<f32>();
        [start, start.wrapping_add(slab)]
    }

    /// The places of tile `index` along `axis`: what it reads, and what it is. `is_next`: of the tile after the present one.
    fn place(&mut self, call: &Call<'_>, axis: usize, index: usize, is_next: bool) {
        let (pattern, pass, length) = (call.pattern, call.pass, call.kernel.tile[axis]);
        let (read, tile) = if is_next {
            (&mut self.next[axis], &mut self.next_tile[axis])
        } else {
            (&mut self.read[axis], &mut self.tile[axis])
        };
        let Axis { n, first, step, size, origin, stride, .. } = pass.axes[axis];
        let start = index * length;
        let inside = |at: i64| usize::try_from(at).ok().filter(|at| *at < size);
        let from = origin + (start * stride) as i64;
        read.clear();
        read.extend(pattern.lines[axis].inputs.iter().map(|&input| inside(from + input as i64)));
        tile.clear();
        tile.extend((start..start + length).map(|at| (at < n).then_some(first + at * step)));
    }
}

/// The checked arguments of a pass.
pub(super) struct Call<'a> {
    pub kernel: &'static Kernel,
    pub threads: &'a Threads,
    pub pass: &'a Pass,
    pub pattern: &'a Pattern,
    /// NHWC.
    pub input: &'a [f32],
}

/// Where sums go.
pub(super) struct Output {
    pub to: Shareable<f32>,
    pub end: End,
    pub activation: Activation,
}

// SAFETY: the raw pointers of the end are read only.
unsafe impl Sync for Output {}

impl Call<'_> {
    fn lanes(&self) -> usize {
        self.kernel.lanes
    }

    /// Tiles down and right.
    fn tiles(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.pass.axes[axis].n.div_ceil(self.kernel.tile[axis]))
    }

    fn tile_len(&self, channels: usize) -> usize {
        channels * self.kernel.tile[0] * self.kernel.tile[1] * self.lanes()
    }

    /// A group of images of `size` and `channels`, and where it begins.
    fn grid(&self, group: usize, [h, w]: [usize; 2], channels: usize) -> (Grid, usize) {
        let image = h * w * channels;
        let images = (self.pass.out.n - group * self.lanes()).min(self.lanes());
        (Grid { images, image, w, channels }, group * self.lanes() * image)
    }

    /// Runs `work` on each tile of a band of a group, with the slabs' room, the tile's, and the places of both. The image of the tiles is
    /// written, or read too.
    fn tiles_of(
        &self,
        (group, band): (usize, Range<usize>),
        (image, is_read): (*const f32, bool),
        mut work: impl FnMut(&mut Memory, [*mut f32; 2]),
    ) {
        let (tiles, Images { h, w, .. }) = (self.tiles(), self.pass.out);
        let (reads, start) = self.grid(group, self.pass.size(), self.pass.inputs);
        let from = self.input[start..].as_ptr();
        let (grid, start) = self.grid(group, [h, w], self.pass.outputs);
        let image = image.wrapping_add(start);
        let rows = self.pattern.rows.len();
        let is_far = self.pass.out.n * (reads.image + grid.image) >= FAR;
        MEMORY.with_borrow_mut(|memory| {
            let room = memory.floats(self.pattern.slab_len(self.lanes()), self.tile_len(self.pass.outputs));
            for (down, right) in band.flat_map(|down| (0..tiles[1]).map(move |right| (down, right))) {
                let next = if right + 1 < tiles[1] { [down, right + 1] } else { [down + 1, 0] };
                for axis in 0..2 {
                    memory.place(self, axis, [down, right][axis], false);
                    memory.place(self, axis, next[axis], true);
                }
                let Memory { tile, next, next_tile, ahead, .. } = &mut *memory;
                ahead.clear();
                if is_far {
                    // Lines above these were read by the tiles above.
                    let first = next[0].len().saturating_sub(self.kernel.tile[0] * self.pass.axes[0].stride);
                    reads.lines(from, &next[0][first..], &next[1], ahead);
                    let [down, right] = if is_read { next_tile } else { tile };
                    grid.lines(image, down, right, ahead);
                }
                memory.asks = memory.ahead.len().div_ceil(rows.max(1));
                memory.ahead.resize(memory.asks * rows, std::ptr::null());
                work(memory, room);
            }
        });
    }

    /// The inputs of a block, and the loops' view of them.
    ///
    /// # Safety
    /// The slab has room for the block; the input is as large as the pass says.
    unsafe fn fill(&self, group: usize, memory: &Memory, block: &Block, [slab, tile]: [*mut f32; 2]) -> Run<'_> {
        let (grid, start) = self.grid(group, self.pass.size(), self.pass.inputs);
        let at = (&memory.read[0][..], &memory.read[1][..]);
        // SAFETY: places are inside of the image; the rest is the caller's.
        unsafe { (self.kernel.gather)(grid, self.input[start..].as_ptr(), at, block.inputs.clone(), slab) };
        Run {
            rows: &self.pattern.rows[block.rows.clone()],
            steps: self.pattern.steps[block.step..].as_ptr(),
            slab,
            pitch: memory.read[1].len() * self.lanes(),
            tile,
            is_first: block.inputs.start == 0,
            gradients: std::ptr::null_mut(),
            ahead: memory.ahead[block.rows.start * memory.asks..].as_ptr(),
            asks: memory.asks,
        }
    }

    /// Writes the sums of all outputs.
    ///
    /// # Safety
    /// `output`, and what its end points to, is as large as the pass says, and nobody else uses what is written. This CPU can run
    /// the kernel.
    pub unsafe fn products(&self, output: &Output) {
        let (pass, pattern) = (self.pass, self.pattern);
        let Images { n, h, w } = pass.out;
        let groups = n.div_ceil(self.lanes());
        let rows = self.tiles()[0];
        let bands = (4 * self.threads.count()).div_ceil(groups.max(1)).min(rows).max(1);
        self.threads.run(groups * bands, |task| {
            let (group, band) = (task / bands, part(task % bands, bands, rows));
            let (grid, start) = self.grid(group, [h, w], pass.outputs);
            let residual = output.end.residual;
            let residual = if residual.is_null() { residual } else { residual.wrapping_add(start) };
            let end = End { residual, ..output.end };
            self.tiles_of((group, band), (output.to.0, false), |memory, room| {
                for block in &pattern.blocks {
                    // SAFETY: the room is as large as the largest block; the caller's.
                    unsafe { (self.kernel.products)(&self.fill(group, memory, block, room)) };
                }
                let at = (&memory.tile[0][..], &memory.tile[1][..]);
                // SAFETY: pixels of this task; the caller's.
                unsafe { (self.kernel.scatter)(grid, room[1], at, output.to.at(start), &end) };
                if output.activation.is_curve() {
                    let pixels = at.0.iter().flatten().flat_map(|y| at.1.iter().flatten().map(move |x| y * w + x));
                    for pixel in pixels {
                        for image in 0..grid.images {
                            let first = start + image * grid.image + pixel * pass.outputs;
                            // SAFETY: as above.
                            let to = unsafe { std::slice::from_raw_parts_mut(output.to.at(first), pass.outputs) };
                            output.activation.apply(to);
                        }
                    }
                }
            });
        });
    }

    /// Writes the gradients of the weights of the pattern to `to`, at their places, from that of the output.
    pub fn dots(&self, d_out: &[f32], to: &mut [f32]) {
        let (pass, pattern) = (self.pass, self.pattern);
        let Images { n, h, w } = pass.out;
        let groups = n.div_ceil(self.lanes());
        let rows = self.tiles()[0];
        let bands = PARTS.div_ceil(groups.max(1)).min(rows).max(1);
        let kept = pattern.places.len();
        to.fill(0.0);
        if kept == 0 || groups == 0 {
            return;
        }
        let mut parts = GRADIENTS.take();
        if parts.len() < groups * bands * kept {
            parts.resize(groups * bands * kept, 0.0);
        }
        let gradients = Shareable(parts.as_mut_ptr());
        self.threads.run(groups * bands, |task| {
            let (group, band) = (task / bands, part(task % bands, bands, rows));
            let (grid, start) = self.grid(group, [h, w], pass.outputs);
            // SAFETY: this part's.
            unsafe { gradients.at(task * kept).write_bytes(0, kept) };
            self.tiles_of((group, band), (d_out.as_ptr(), true), |memory, room| {
                let at = (&memory.tile[0][..], &memory.tile[1][..]);
                // SAFETY: the tile has room for all outputs, whose pixels are inside of the image; this CPU can run the kernel.
                unsafe { (self.kernel.gather)(grid, d_out[start..].as_ptr(), at, 0..pass.outputs, room[1]) };
                for block in &pattern.blocks {
                    // SAFETY: the room is as large as the largest block; the gradients are this part's.
                    unsafe {
                        let gradients = gradients.at(task * kept + block.step);
                        (self.kernel.dots)(&Run { gradients, ..self.fill(group, memory, block, room) });
                    }
                }
            });
        });
        let to = Shareable(to.as_mut_ptr());
        self.threads.run(kept.div_ceil(CHUNK), |task| {
            for step in task * CHUNK..kept.min((task + 1) * CHUNK) {
                let sum: f32 = parts[step..groups * bands * kept].iter().step_by(kept).sum();
                // SAFETY: places of weights differ, and are inside.
                unsafe { to.at(pattern.places[step] as usize).write(sum * pattern.steps[step].weight) };
            }
        });
        GRADIENTS.set(parts);
    }
}
