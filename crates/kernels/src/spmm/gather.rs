//! Copies the inputs of a block of pixels into the slab: a line `[pixels]` for each column of weights.

use super::driver::{Block, Call};
use super::packed::Column;
use crate::conv::{Channels, Window};
use crate::simd::Lanes;
use std::ops::Range;

/// Which inputs the pixels of a block see; kept from task to task for its memory.
#[derive(Default)]
pub(super) struct Plan {
    runs: Vec<Run>,
    pieces: Vec<Piece>,
    /// Pieces of vector `v` are `starts[v] .. starts[v + 1]`.
    starts: Vec<usize>,
    tap: Option<u32>,
}

/// Output pixels side by side in one row of one image and one vector.
#[derive(Debug, Clone, Copy)]
struct Run {
    vector: usize,
    lane: usize,
    len: usize,
    image: usize,
    y: usize,
    x: usize,
}

/// Lanes of a vector and where they lie in the plane of a channel: lane `i` at `offset + i · stride`.
#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: isize,
    mask: u32,
}

/// What the window slides over, and the size of the output. Points need no rows: their image is one long line.
fn geometry(call: &Call<'_>) -> (Window, [usize; 2], [usize; 2]) {
    let window = call.packed.shape().window;
    let (h, w) = (call.images.h, call.images.w);
    if window.is_point() { (window, [1, h * w], [1, h * w]) } else { (window, [h, w], call.out_size) }
}

impl Plan {
    /// Cuts output pixels `pixels` into runs.
    pub fn start(&mut self, call: &Call<'_>, pixels: Range<usize>, lanes: usize) {
        let (_, _, [out_h, out_w]) = geometry(call);
        self.runs.clear();
        self.tap = None;
        let mut at = pixels.start;
        let (mut image, mut y, mut x) = (at / out_w / out_h, at / out_w % out_h, at % out_w);
        while at < pixels.end {
            let (vector, lane) = ((at - pixels.start) / lanes, (at - pixels.start) % lanes);
            let len = (lanes - lane).min(out_w - x).min(pixels.end - at);
            self.runs.push(Run { vector, lane, len, image, y, x });
            (at, x) = (at + len, x + len);
            if x == out_w {
                (x, y) = (0, y + 1);
                if y == out_h {
                    (y, image) = (0, image + 1);
                }
            }
        }
    }

    /// Finds the pieces that `tap` sees of each vector.
    fn look(&mut self, call: &Call<'_>, tap: u32, vectors: usize) {
        if self.tap == Some(tap) {
            return;
        }
        self.tap = Some(tap);
        let (window, [h, w], _) = geometry(call);
        let (dy, dx) = offsets(&window, tap);
        let step = window.stride[1] as isize;
        self.pieces.clear();
        self.starts.clear();
        self.starts.push(0);
        for run in &self.runs {
            while self.starts.len() <= run.vector {
                self.starts.push(self.pieces.len());
            }
            let y = (run.y * window.stride[0]) as isize + dy;
            let x = (run.x * window.stride[1]) as isize + dx;
            let inside = inside(x, step, run.len, w);
            if y < 0 || y >= h as isize || inside.is_empty() {
                continue;
            }
            let mask = (((1u64 << inside.end) - (1u64 << inside.start)) << run.lane) as u32;
            let plane = (run.image * call.packed.shape().c_in * h * w) as isize;
            self.pieces.push(Piece { offset: plane + y * w as isize + x - run.lane as isize * step, mask });
        }
        self.starts.resize(vectors + 1, self.pieces.len());
    }
}

/// From the position of an output, times the stride, to that of the input.
fn offsets(window: &Window, tap: u32) -> (isize, isize) {
    let (tap_y, tap_x) = (tap as usize / window.kernel[1], tap as usize % window.kernel[1]);
    let dy = (tap_y * window.dilation[0]) as isize - window.pads[0] as isize;
    (dy, (tap_x * window.dilation[1]) as isize - window.pads[1] as isize)
}

/// Which of `len` positions `x`, `x + step`, … are in `0..size`.
fn inside(x: isize, step: isize, len: usize, size: usize) -> Range<usize> {
    let (room, before) = ((size as isize - x).max(0), (-x).max(0));
    let (first, end) = if step == 1 { (before, room) } else { ((before + step - 1) / step, (room + step - 1) / step) };
    let end = end.min(len as isize);
    first.min(end) as usize..end as usize
}

/// Fills the slab with `columns`.
///
/// # Safety
/// The slab has room for them, `call` is as large as its shape says; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn fill<V: Lanes>(call: &Call<'_>, block: &mut Block<'_>, columns: Range<usize>) {
    // SAFETY: the caller's.
    unsafe {
        match call.from {
            Channels::First => planes::<V>(call, block, columns),
            Channels::Last => pixels::<V>(call, block, columns),
        }
    }
}

/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn planes<V: Lanes>(call: &Call<'_>, block: &mut Block<'_>, columns: Range<usize>) {
    let plane = call.images.h * call.images.w;
    let stride = call.packed.shape().window.stride[1];
    let mut to = block.slab;
    for &Column { tap, channel } in &call.packed.columns[columns] {
        block.plan.look(call, tap, block.vectors);
        let from = call.input.as_ptr().wrapping_add(channel as usize * plane);
        let (starts, pieces) = (&block.plan.starts[..], &block.plan.pieces[..]);
        for vector in 0..block.vectors {
            // SAFETY: pieces are inside of the plane; the slab has room for `block.vectors` vectors a column.
            unsafe {
                let mut x = V::splat(0.0);
                for piece in pieces.get_unchecked(*starts.get_unchecked(vector)..*starts.get_unchecked(vector + 1)) {
                    let from = from.wrapping_offset(piece.offset);
                    x = match stride {
                        1 => x.load_where(from, piece.mask),
                        2 => x.load_even_where(from, piece.mask),
                        _ => load_each(x, from, stride, piece.mask),
                    };
                }
                x.store(to);
                to = to.add(V::N);
            }
        }
    }
}

/// Lane `i` from `from + i · stride` where `mask` says so.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn load_each<V: Lanes>(x: V, from: *const f32, stride: usize, mask: u32) -> V {
    let mut lanes = [0.0; 16];
    // SAFETY: the caller's.
    unsafe {
        x.store_first(lanes.as_mut_ptr(), V::N);
        for (lane, to) in lanes.iter_mut().enumerate() {
            if mask >> lane & 1 != 0 {
                *to = *from.wrapping_add(lane * stride);
            }
        }
        V::load(lanes.as_ptr())
    }
}

/// Zeros to read outside of images.
static ZEROS: [f32; 16] = [0.0; 16];

/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn pixels<V: Lanes>(call: &Call<'_>, block: &mut Block<'_>, columns: Range<usize>) {
    let c_in = call.packed.shape().c_in;
    let width = block.vectors * V::N;
    let all = &call.packed.columns[columns];
    let (window, [h, w], _) = geometry(call);
    let mut done = 0;
    for of_tap in all.chunk_by(|a, b| a.tap == b.tap) {
        let (dy, dx) = offsets(&window, of_tap[0].tap);
        let mut runs = block.plan.runs.iter().peekable();
        for vector in 0..block.vectors {
            let mut from = [std::ptr::null::<f32>(); 16];
            while let Some(run) = runs.peek().filter(|run| run.vector == vector) {
                let y = (run.y * window.stride[0]) as isize + dy;
                let x = (run.x * window.stride[1]) as isize + dx;
                if y >= 0 && y < h as isize {
                    for i in inside(x, window.stride[1] as isize, run.len, w) {
                        let x = (x + (i * window.stride[1]) as isize) as usize;
                        let pixel = (run.image * h + y as usize) * w + x;
                        from[run.lane + i] = call.input.as_ptr().wrapping_add(pixel * c_in);
                    }
                }
                runs.next();
            }
            // SAFETY: the pointers are null or inside of the input, the slab has room for these columns.
            unsafe { transpose::<V>(&from, c_in, of_tap, block.slab.add(done * width + vector * V::N), width) };
        }
        done += of_tap.len();
    }
}

/// Writes channels `columns` of a vector of pixels to lines `width` apart.
///
/// # Safety
/// Pixels are null or have `c_in` channels; `to` has room for all columns; as [`Lanes`].
#[inline(always)]
unsafe fn transpose<V: Lanes>(from: &[*const f32; 16], c_in: usize, columns: &[Column], to: *mut f32, width: usize) {
    let mut at = 0;
    while at < columns.len() {
        let first = columns[at].channel as usize;
        let room = (c_in - first).min(V::N);
        // SAFETY: the caller's; at most `room` channels are read.
        unsafe {
            let mut square = [V::splat(0.0); 16];
            for (square, &from) in square[..V::N].iter_mut().zip(from) {
                let from = if from.is_null() { ZEROS.as_ptr() } else { from.wrapping_add(first) };
                *square = if room == V::N { V::load(from) } else { V::load_first(from, room) };
            }
            V::transpose(&mut square[..V::N]);
            while at < columns.len() && columns[at].channel as usize - first < V::N {
                square[columns[at].channel as usize - first].store(to.add(at * width));
                at += 1;
            }
        }
    }
}
