//! Copies the inputs of a block of pixels into the slab: a line `[pixels]` for each column of weights.

use super::driver::{Block, Call, Place};
use super::packed::Column;
use super::pixels;
use super::strips::Target;
use crate::conv::{Channels, Window};
use crate::simd::Lanes;
use std::ops::Range;

/// Which inputs the pixels of a block see; kept from task to task for its memory.
#[derive(Default)]
pub(super) struct Plan {
    /// The output pixels of the block.
    pub runs: Vec<Run>,
    /// Of strips, for each lane of each vector, if channels of the output are last.
    pub pixels: Vec<Option<usize>>,
    /// Of strips: those of the first vector, which reach over all rows.
    pub spans: Vec<Run>,
    /// For each column of the window, phase and span: where lane 0 of the first line lies in the plane of a channel.
    pub offsets: Vec<isize>,
    /// For each column of the window, phase, line and span: its lanes inside of the plane.
    pub masks: Vec<u32>,
    /// For each span.
    pub targets: Vec<Target>,
    /// Input pixels of one line.
    pub line: Vec<Run>,
    /// What each tap sees, found when it is first asked for.
    views: Vec<View>,
}

/// The pixels that one tap sees.
#[derive(Default)]
struct View {
    pieces: Vec<Piece>,
    /// Pieces of vector `v` are `starts[v] .. starts[v + 1]`; none at all until it is found.
    starts: Vec<usize>,
}

/// Output pixels side by side in one row of one image and one vector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub vector: usize,
    pub lane: usize,
    pub len: usize,
    pub image: usize,
    pub y: usize,
    pub x: usize,
}

/// Lanes of a vector and where they lie in the plane of a channel: lane `i` at `offset + i · stride`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub offset: isize,
    pub mask: u32,
}

/// What the window slides over, and the size of the output. Points need no rows: their image is one long line.
pub(super) fn geometry(call: &Call<'_>) -> (Window, [usize; 2], [usize; 2]) {
    let window = call.packed.shape().window;
    let (h, w) = (call.images.h, call.images.w);
    if window.is_point() { (window, [1, h * w], [1, h * w]) } else { (window, [h, w], call.out_size) }
}

impl Plan {
    /// Cuts the output pixels of `place` into runs.
    pub fn start(&mut self, call: &Call<'_>, place: &Place, lanes: usize) {
        match place {
            Place::Run(pixels) => return self.cut(call, pixels.clone(), lanes),
            Place::Tile(strips, tile) => strips.plan(call, tile, lanes, self),
        }
        if call.to == Channels::Last {
            let (_, _, [out_h, out_w]) = geometry(call);
            self.pixels.clear();
            for run in &self.runs {
                let pixel = (run.image * out_h + run.y) * out_w + run.x;
                self.pixels.resize(run.vector * lanes + run.lane, None);
                self.pixels.extend((pixel..pixel + run.len).map(Some));
            }
            let vectors = self.pixels.len().next_multiple_of(lanes);
            self.pixels.resize(vectors, None);
        }
    }

    fn cut(&mut self, call: &Call<'_>, pixels: Range<usize>, lanes: usize) {
        let (_, _, [out_h, out_w]) = geometry(call);
        self.runs.clear();
        let taps = call.packed.shape().window.taps();
        if self.views.len() < taps {
            self.views.resize_with(taps, View::default);
        }
        self.views.iter_mut().for_each(|view| view.starts.clear());
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
    fn look(&mut self, call: &Call<'_>, tap: u32, vectors: usize) -> &View {
        let view = &mut self.views[tap as usize];
        if !view.starts.is_empty() {
            return view;
        }
        let (window, [h, w], _) = geometry(call);
        let (dy, dx) = offsets(&window, tap);
        let step = window.stride[1] as isize;
        view.pieces.clear();
        view.starts.push(0);
        for run in &self.runs {
            while view.starts.len() <= run.vector {
                view.starts.push(view.pieces.len());
            }
            let y = (run.y * window.stride[0]) as isize + dy;
            let x = (run.x * window.stride[1]) as isize + dx;
            let inside = inside(x, step, run.len, w);
            if y < 0 || y >= h as isize || inside.is_empty() {
                continue;
            }
            let mask = (((1u64 << inside.end) - (1u64 << inside.start)) << run.lane) as u32;
            let plane = (run.image * call.packed.shape().c_in * h * w) as isize;
            let offset = plane + y * w as isize + x - run.lane as isize * step;
            let of_vector = view.starts[run.vector];
            match view.pieces[of_vector..].last_mut() {
                // Rows as long as the output's follow each other: one load with holes for what is outside.
                Some(last) if last.offset == offset => last.mask |= mask,
                _ => view.pieces.push(Piece { offset, mask }),
            }
        }
        view.starts.resize(vectors + 1, view.pieces.len());
        view
    }
}

impl View {
    /// If each vector is one piece, and these lie side by side, filled but for the last: the last one's mask, the first
    /// one's offset.
    fn whole_run(&self, lanes: usize) -> Option<Piece> {
        let (first, last) = (self.pieces.first()?, self.pieces.last()?);
        let is_run = |(index, piece): (usize, &Piece)| {
            let is_filled = piece.mask == ((1u64 << lanes) - 1) as u32 || index + 1 == self.pieces.len();
            self.starts[index] == index && is_filled && piece.offset == first.offset + (index * lanes) as isize
        };
        let is_whole = self.pieces.len() + 1 == self.starts.len() && self.pieces.iter().enumerate().all(is_run);
        is_whole.then_some(Piece { offset: first.offset, mask: last.mask })
    }
}

/// From the position of an output, times the stride, to that of the input.
pub(super) fn offsets(window: &Window, tap: u32) -> (isize, isize) {
    let (tap_y, tap_x) = (tap as usize / window.kernel[1], tap as usize % window.kernel[1]);
    let dy = (tap_y * window.dilation[0]) as isize - window.pads[0] as isize;
    (dy, (tap_x * window.dilation[1]) as isize - window.pads[1] as isize)
}

/// Which of `len` positions `x`, `x + step`, … are in `0..size`.
pub(super) fn inside(x: isize, step: isize, len: usize, size: usize) -> Range<usize> {
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
            Channels::Last => pixels::fill::<V>(call, block, columns),
        }
    }
}

/// # Safety
/// As [`fill`].
#[inline(always)]
unsafe fn planes<V: Lanes>(call: &Call<'_>, block: &mut Block<'_>, columns: Range<usize>) {
    let plane = call.images.h * call.images.w;
    let stride = call.packed.shape().window.stride[1];
    let width = block.vectors * V::N;
    let mut to = block.slab;
    for of_tap in call.packed.columns[columns].chunk_by(|a, b| a.tap == b.tap && a.channel < b.channel) {
        let view = block.plan.look(call, of_tap[0].tap, block.vectors);
        if let (Some(piece), 1) = (view.whole_run(V::N), stride) {
            let lines = Lines { input: call.input.as_ptr(), plane, to, width, columns: of_tap, pieces: &[piece] };
            // SAFETY: as below.
            unsafe { lines.copy_run::<V>(block.vectors) };
            to = to.wrapping_add(of_tap.len() * width);
            continue;
        }
        for vector in 0..block.vectors {
            let pieces = &view.pieces[view.starts[vector]..view.starts[vector + 1]];
            let mut lines = Lines { input: call.input.as_ptr(), plane, to, width, columns: of_tap, pieces };
            // SAFETY: pieces are inside of the plane; the slab has room for `block.vectors` vectors a column.
            unsafe {
                lines.to = to.add(vector * V::N);
                match stride {
                    1 => lines.copy::<V, 1>(1),
                    2 => lines.copy::<V, 2>(2),
                    _ => lines.copy::<V, 0>(stride),
                }
            }
        }
        to = to.wrapping_add(of_tap.len() * width);
    }
}

/// Channels that are asked for before they are copied: about the latency of the last cache.
const AHEAD: usize = 12;

/// Asks for a cache line; any address is fine.
#[inline(always)]
pub(super) fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, and it never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Pieces of a vector that have no loop of their own.
const MANY: usize = 5;

/// One vector of pixels of some channels.
pub(super) struct Lines<'a> {
    pub input: *const f32,
    /// Floats from one channel to the next.
    pub plane: usize,
    pub to: *mut f32,
    /// Floats from one line of the slab to the next.
    pub width: usize,
    pub columns: &'a [Column],
    pub pieces: &'a [Piece],
}

impl Lines<'_> {
    /// `STRIDE` is 0 where it is not known before.
    ///
    /// # Safety
    /// Pieces lie in the planes of these channels, `to` has room for the lines; as [`Lanes`].
    #[inline(always)]
    pub unsafe fn copy<V: Lanes, const STRIDE: usize>(&self, stride: usize) {
        // The number of pieces is the same for all channels, so it is asked only here.
        // SAFETY: the caller's.
        unsafe {
            match self.pieces.len() {
                0 => self.each::<V, STRIDE, 0>(stride),
                1 => self.each::<V, STRIDE, 1>(stride),
                2 => self.each::<V, STRIDE, 2>(stride),
                3 => self.each::<V, STRIDE, 3>(stride),
                4 => self.each::<V, STRIDE, 4>(stride),
                _ => self.each::<V, STRIDE, MANY>(stride),
            }
        }
    }

    /// A line of `vectors` vectors of each channel, side by side.
    ///
    /// # Safety
    /// The only piece is that of [`View::whole_run`], `to` has room for the lines; as [`Lanes`].
    #[inline(always)]
    unsafe fn copy_run<V: Lanes>(&self, vectors: usize) {
        let (piece, mut to) = (self.pieces[0], self.to);
        for (index, column) in self.columns.iter().enumerate() {
            let plane =
                |channel: u32| self.input.wrapping_add(channel as usize * self.plane).wrapping_offset(piece.offset);
            let from = plane(column.channel);
            // Channels are pages apart, which the hardware does not foresee.
            let next =
                plane(self.columns.get(index + AHEAD).map_or(column.channel + AHEAD as u32, |next| next.channel));
            // SAFETY: the caller's.
            unsafe {
                for vector in 0..vectors - 1 {
                    prefetch(next.wrapping_add(vector * V::N));
                    V::load(from.add(vector * V::N)).store(to.add(vector * V::N));
                }
                let last = (vectors - 1) * V::N;
                prefetch(next.wrapping_add(last));
                V::splat(0.0).load_where(from.add(last), piece.mask).store(to.add(last));
            }
            to = to.wrapping_add(self.width);
        }
    }

    /// # Safety
    /// As [`Self::copy`]; there are `PIECES`, or any number if that is [`MANY`].
    #[inline(always)]
    unsafe fn each<V: Lanes, const STRIDE: usize, const PIECES: usize>(&self, stride: usize) {
        let (Some(first), Some(last)) = (self.columns.first(), self.columns.last()) else { return };
        let (mut to, first) = (self.to, first.channel as usize);
        // Copies whose masks the compiler prepares once for all channels.
        let mut pieces = [Piece { offset: 0, mask: 0 }; MANY];
        if PIECES < MANY {
            pieces[..PIECES].copy_from_slice(&self.pieces[..PIECES]);
        }
        if last.channel as usize == first + self.columns.len() - 1 {
            // None is left out: addresses follow from each other, not from what is read.
            let mut from = self.input.wrapping_add(first * self.plane);
            for _ in self.columns {
                // SAFETY: the caller's.
                unsafe { self.line::<V, STRIDE, PIECES>(pieces, from, stride).store(to) };
                (from, to) = (from.wrapping_add(self.plane), to.wrapping_add(self.width));
            }
            return;
        }
        for column in self.columns {
            let from = self.input.wrapping_add(column.channel as usize * self.plane);
            // SAFETY: the caller's.
            unsafe { self.line::<V, STRIDE, PIECES>(pieces, from, stride).store(to) };
            to = to.wrapping_add(self.width);
        }
    }

    /// The pixels of one channel; `pieces` are all of them, if they are not [`MANY`].
    ///
    /// # Safety
    /// As [`Self::each`].
    #[inline(always)]
    unsafe fn line<V: Lanes, const STRIDE: usize, const PIECES: usize>(
        &self,
        pieces: [Piece; MANY],
        from: *const f32,
        stride: usize,
    ) -> V {
        // SAFETY: the caller's.
        unsafe {
            let mut x = V::splat(0.0);
            if PIECES == MANY {
                for &piece in self.pieces {
                    x = load::<V, STRIDE>(x, from, piece, stride);
                }
            } else {
                for &piece in &pieces[..PIECES] {
                    x = load::<V, STRIDE>(x, from, piece, stride);
                }
            }
            x
        }
    }
}

/// # Safety
/// The piece lies in the plane at `from`; as [`Lanes`].
#[inline(always)]
unsafe fn load<V: Lanes, const STRIDE: usize>(x: V, from: *const f32, piece: Piece, stride: usize) -> V {
    let from = from.wrapping_offset(piece.offset);
    // SAFETY: the caller's.
    unsafe {
        match STRIDE {
            1 => x.load_where(from, piece.mask),
            2 => x.load_even_where(from, piece.mask),
            _ => load_each(x, from, stride, piece.mask),
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
