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

    /// The places of tile `index` along `axis`: what it reads, and what it is.
    fn place(&mut self, pattern: &Pattern, pass: &Pass, axis: usize, index: usize, length: usize) {
        let Axis { n, first, step, size, origin, stride, .. } = pass.axes[axis];
        let start = index * length;
        let inside = |at: i64| usize::try_from(at).ok().filter(|at| *at < size);
        let from = origin + (start * stride) as i64;
        self.read[axis].clear();
        self.read[axis].extend(pattern.lines[axis].inputs.iter().map(|&input| inside(from + input as i64)));
        self.tile[axis].clear();
        self.tile[axis].extend((start..start + length).map(|at| (at < n).then_some(first + at * step)));
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

    /// Runs `work` on each tile of a band, with the slabs' room, the tile's, and the places of both.
    fn tiles_of(&self, band: Range<usize>, channels: usize, mut work: impl FnMut(&mut Memory, [*mut f32; 2])) {
        MEMORY.with_borrow_mut(|memory| {
            let room = memory.floats(self.pattern.slab_len(self.lanes()), self.tile_len(channels));
            for down in band.clone() {
                memory.place(self.pattern, self.pass, 0, down, self.kernel.tile[0]);
                for right in 0..self.tiles()[1] {
                    memory.place(self.pattern, self.pass, 1, right, self.kernel.tile[1]);
                    work(memory, room);
                }
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
            self.tiles_of(band, pass.outputs, |memory, room| {
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
            self.tiles_of(band, pass.outputs, |memory, room| {
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
