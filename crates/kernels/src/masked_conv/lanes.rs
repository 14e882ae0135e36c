//! The loops, written once for all instruction sets: lanes are images, a vector is one pixel of one channel of all of them.

use super::pattern::{AHEAD, Row, Step};
use crate::gemm::tile::{LINE, prefetch};
use crate::simd::{Lanes, each_vector};

/// One block of inputs and all outputs, on a tile of pixels.
pub(super) struct Run<'a> {
    pub rows: &'a [Row],
    /// As many as the rows have, and [`AHEAD`] more.
    pub steps: *const Step,
    /// `[inputs][lines][columns][lanes]`.
    pub slab: *const f32,
    /// Floats from one line of the slab to the next.
    pub pitch: usize,
    /// `[outputs][pixels of the tile][lanes]`: sums, or the gradient of the output.
    pub tile: *mut f32,
    /// Sums begin at 0.
    pub is_first: bool,
    /// One for each step, added to.
    pub gradients: *mut f32,
    /// Cache lines to ask for meanwhile, any addresses, `asks` for each row.
    pub ahead: *const *const f32,
    pub asks: usize,
}

/// Asks for what the next tile reads, a little with every row: all at once would make the loads wait.
///
/// # Safety
/// There are as many addresses as the run says; they need not be valid.
#[inline(always)]
unsafe fn ask(run: &Run<'_>, row: usize) {
    for at in row * run.asks..(row + 1) * run.asks {
        // SAFETY: the caller's.
        prefetch(unsafe { *run.ahead.add(at) });
    }
}

/// `tile[output] += weight · slab[step]` for the pixels of `ROWS` lines of `COLS`.
///
/// # Safety
/// The pointers are as [`Run`] says; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn products<V: Lanes, const ROWS: usize, const COLS: usize>(run: &Run<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut steps = run.steps;
        let mut next = [*steps, *steps.add(1)];
        for (index, row) in run.rows.iter().enumerate() {
            ask(run, index);
            let tile = run.tile.add(row.output as usize * ROWS * COLS * V::N);
            let mut sums = [[V::splat(0.0); COLS]; ROWS];
            if !run.is_first {
                for (line, sums) in sums.iter_mut().enumerate() {
                    *sums = each_vector!(COLS, |col| V::load(tile.add((line * COLS + col) * V::N)));
                }
            }
            for _ in 0..row.steps {
                let step = next[0];
                next = [next[1], *steps.add(AHEAD)];
                steps = steps.add(1);
                let weight = V::splat(step.weight);
                let from = run.slab.add(step.at as usize);
                for (line, sums) in sums.iter_mut().enumerate() {
                    let from = from.add(line * run.pitch);
                    for (col, sum) in sums.iter_mut().enumerate() {
                        *sum = weight.mul_add(V::load(from.add(col * V::N)), *sum);
                    }
                }
            }
            for (line, sums) in sums.iter().enumerate() {
                for (col, sum) in sums.iter().enumerate() {
                    sum.store(tile.add((line * COLS + col) * V::N));
                }
            }
        }
    }
}

/// `gradients[step] += Σ tile[output] · slab[step]`.
///
/// # Safety
/// As [`products`].
#[inline(always)]
pub(super) unsafe fn dots<V: Lanes, const ROWS: usize, const COLS: usize>(run: &Run<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let (mut steps, mut to) = (run.steps, run.gradients);
        let mut next = [(*steps).at, (*steps.add(1)).at];
        for (index, row) in run.rows.iter().enumerate() {
            ask(run, index);
            let tile = run.tile.add(row.output as usize * ROWS * COLS * V::N);
            let mut d = [[V::splat(0.0); COLS]; ROWS];
            for (line, d) in d.iter_mut().enumerate() {
                *d = each_vector!(COLS, |col| V::load(tile.add((line * COLS + col) * V::N)));
            }
            for _ in 0..row.steps {
                let from = run.slab.add(next[0] as usize);
                next = [next[1], (*steps.add(AHEAD)).at];
                steps = steps.add(1);
                // Several chains, or each sum would wait for the one before.
                let mut sums = [V::splat(0.0); 4];
                for (line, d) in d.iter().enumerate() {
                    let from = from.add(line * run.pitch);
                    for (col, d) in d.iter().enumerate() {
                        sums[col % 4] = d.mul_add(V::load(from.add(col * V::N)), sums[col % 4]);
                    }
                }
                *to += sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
                to = to.add(1);
            }
        }
    }
}

/// A batch of NHWC images seen as groups of as many as a vector has lanes.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// Images left from the first of the group on, at most the lanes.
    pub images: usize,
    /// Floats of an image.
    pub image: usize,
    pub w: usize,
    pub channels: usize,
}

impl Grid {
    /// The cache lines of all channels of the pixels at `rows` and `cols` of a group of images that begins at `from`.
    pub fn lines(&self, from: *const f32, rows: &Places, cols: &Places, to: &mut Vec<*const f32>) {
        let (Some(first), Some(last)) = (cols.iter().flatten().min(), cols.iter().flatten().max()) else { return };
        for image in 0..self.images {
            for row in rows.iter().flatten() {
                let from = from.wrapping_add(image * self.image + (row * self.w + first) * self.channels);
                let len = (last - first + 1) * self.channels;
                to.extend((0..len).step_by(LINE).map(|at| from.wrapping_add(at)));
            }
        }
    }
}

/// Pixels of a tile or slab along one axis: `None` lies outside.
pub(super) type Places = [Option<usize>];

/// Writes `channels` of the pixels at `rows` and `cols` of a group of images to `to`, `[channels][rows][cols][lanes]`, zeros where there is none.
///
/// # Safety
/// `from` is the first image of the group, places are inside of it; `to` has the room; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn gather<V: Lanes>(
    grid: Grid,
    from: *const f32,
    (rows, cols): (&Places, &Places),
    channels: std::ops::Range<usize>,
    to: *mut f32,
) {
    let of_channel = rows.len() * cols.len() * V::N;
    let n = channels.len();
    // SAFETY: the caller's.
    unsafe {
        for (y, row) in rows.iter().enumerate() {
            for (x, col) in cols.iter().enumerate() {
                let to = to.add((y * cols.len() + x) * V::N);
                let (Some(row), Some(col)) = (row, col) else {
                    for channel in 0..n {
                        V::splat(0.0).store(to.add(channel * of_channel));
                    }
                    continue;
                };
                let from = from.add((row * grid.w + col) * grid.channels + channels.start);
                let mut channel = 0;
                if grid.images == V::N {
                    while channel + V::N <= n {
                        V::transpose(from.add(channel), grid.image, to.add(channel * of_channel), of_channel);
                        channel += V::N;
                    }
                }
                while channel < n {
                    for lane in 0..V::N {
                        let value = if lane < grid.images { *from.add(lane * grid.image + channel) } else { 0.0 };
                        to.add(channel * of_channel + lane).write(value);
                    }
                    channel += 1;
                }
            }
        }
    }
}

/// What follows the sums.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// `channels` floats, or null.
    pub bias: *const f32,
    /// As `to`, or null.
    pub residual: *const f32,
    pub clamp: Option<(f32, f32)>,
}

/// The way back: `[channels][rows][cols][lanes]` to all channels of the pixels at `rows` and `cols`; those outside are left out.
///
/// # Safety
/// As [`gather`]; `to`, and the residual, are the first image of the group.
#[inline(always)]
pub(super) unsafe fn scatter<V: Lanes>(
    grid: Grid,
    from: *const f32,
    (rows, cols): (&Places, &Places),
    to: *mut f32,
    end: &End,
) {
    let of_channel = rows.len() * cols.len() * V::N;
    let n = grid.channels;
    // SAFETY: the caller's.
    unsafe {
        for (y, row) in rows.iter().enumerate() {
            for (x, col) in cols.iter().enumerate() {
                let (Some(row), Some(col)) = (row, col) else { continue };
                let from = from.add((y * cols.len() + x) * V::N);
                let at = (row * grid.w + col) * n;
                let to = to.add(at);
                let mut channel = 0;
                if grid.images == V::N {
                    while channel + V::N <= n {
                        V::transpose(from.add(channel * of_channel), of_channel, to.add(channel), grid.image);
                        channel += V::N;
                    }
                }
                while channel < n {
                    for lane in 0..grid.images {
                        to.add(lane * grid.image + channel).write(*from.add(channel * of_channel + lane));
                    }
                    channel += 1;
                }
                if end.bias.is_null() && end.residual.is_null() && end.clamp.is_none() {
                    continue;
                }
                for image in 0..grid.images {
                    let at = at + image * grid.image;
                    let residual = if end.residual.is_null() { end.residual } else { end.residual.add(at) };
                    finish::<V>(to.add(image * grid.image), n, residual, end);
                }
            }
        }
    }
}

/// # Safety
/// `n` floats at `to`, and at the residual and the bias where they are; as [`Lanes`].
#[inline(always)]
unsafe fn finish<V: Lanes>(to: *mut f32, n: usize, residual: *const f32, end: &End) {
    let mut i = 0;
    while i < n {
        let lanes = (n - i).min(V::N);
        // SAFETY: the caller's.
        unsafe {
            let mut x = V::load_first(to.add(i), lanes);
            if !end.bias.is_null() {
                x = x.add(V::load_first(end.bias.add(i), lanes));
            }
            if !residual.is_null() {
                x = x.add(V::load_first(residual.add(i), lanes));
            }
            if let Some((min, max)) = end.clamp {
                x = x.at_least(V::splat(min)).at_most(V::splat(max));
            }
            x.store_first(to.add(i), lanes);
        }
        i += V::N;
    }
}
