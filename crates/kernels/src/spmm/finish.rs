//! From the sums of a block to the output: residual, clamp, curve, and the layout of the channels.

use super::driver::{Block, Call, Place};
use super::strips::Target;
use crate::conv::Channels;
use crate::simd::{Lanes, unrolled};
use std::ops::Range;

/// Where the sums of a row end.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    /// In the memory of the block.
    Sums,
    Planes(Planes),
    Spans(Spans<'a>),
}

impl<'a> End<'a> {
    /// After the last block of K.
    ///
    /// # Safety
    /// The slices of `call` are as large as its shape says.
    pub unsafe fn of(call: &Call<'_>, block: &'a Block<'_>) -> Self {
        if call.to != Channels::First || call.activation.is_curve() {
            return Self::Sums;
        }
        // SAFETY: the caller's.
        unsafe {
            match &block.place {
                Place::Run(pixels) => Planes::of(call, block, pixels.clone()).map_or(Self::Sums, Self::Planes),
                Place::Tile(..) => Self::Spans(Spans::of(call, block)),
            }
        }
    }

    /// The same for a part that begins at `row`.
    pub fn below_row(self, row: usize) -> Self {
        match self {
            Self::Sums => self,
            Self::Planes(planes) => Self::Planes(planes.below_row(row)),
            Self::Spans(spans) => Self::Spans(spans.below_row(row)),
        }
    }
}

/// Where the rows of a block end, if that is one run of pixels of a plane each and no curve is left to apply: then the
/// inner loop stores them there, and the sums never go to memory.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    /// Row 0.
    out: *mut f32,
    /// As `out`, or null.
    residual: *const f32,
    /// From one row to the next.
    plane: usize,
    /// Rows beyond do not exist.
    rows: usize,
    /// Pixels.
    len: usize,
    clamp: (f32, f32),
}

impl Planes {
    /// # Safety
    /// The slices of `call` are as large as its shape says.
    unsafe fn of(call: &Call<'_>, block: &Block<'_>, pixels: Range<usize>) -> Option<Self> {
        let plane = call.out_size[0] * call.out_size[1];
        let (image, first) = (pixels.start / plane, pixels.start % plane);
        if first + pixels.len() > plane {
            return None;
        }
        let rows = block.rows(call.packed);
        let at = (image * call.packed.shape().c_out + rows.start) * plane + first;
        // SAFETY: `at` is the first pixel of this block.
        let out = unsafe { call.out.at(at) };
        let residual = if call.residual.is_null() { call.residual } else { call.residual.wrapping_add(at) };
        Some(Self { out, residual, plane, rows: rows.len(), len: pixels.len(), clamp: call.activation.clamp() })
    }

    fn below_row(self, row: usize) -> Self {
        let residual =
            if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(row * self.plane) };
        Self { out: self.out.wrapping_add(row * self.plane), residual, rows: self.rows - row, ..self }
    }

    /// # Safety
    /// The rows are as large as the fields say and `VECTORS` vectors hold their pixels; as [`Lanes`].
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "iterators that stop before the last keep the sums in memory")]
    pub unsafe fn store<V: Lanes, const VECTORS: usize>(&self, mut sums: [V; VECTORS], row: usize) {
        if row >= self.rows {
            return;
        }
        // SAFETY: the caller's.
        unsafe {
            let at = row * self.plane;
            // Only the last vector may be part of one.
            let last = VECTORS - 1;
            let n = self.len - last * V::N;
            if !self.residual.is_null() {
                let residual = self.residual.add(at);
                unrolled!(VECTORS, at most 8, |vector| if vector < last {
                    sums[vector] = sums[vector].add(V::load(residual.add(vector * V::N)));
                });
                sums[last] = sums[last].add(V::load_first(residual.add(last * V::N), n));
            }
            let (min, max) = (V::splat(self.clamp.0), V::splat(self.clamp.1));
            unrolled!(VECTORS, at most 8, |vector| if vector < last {
                sums[vector].at_least(min).at_most(max).store(self.out.add(at + vector * V::N));
            });
            sums[last].at_least(min).at_most(max).store_first(self.out.add(at + last * V::N), n);
        }
    }
}

/// Where the rows of a tile end, if no curve is left to apply: vectors lie a row of the output apart.
#[derive(Clone, Copy)]
pub(super) struct Spans<'a> {
    /// Row 0, the first pixel of the plane.
    out: *mut f32,
    /// As `out`, or null.
    residual: *const f32,
    /// From one row to the next.
    plane: usize,
    /// Rows beyond do not exist.
    rows: usize,
    /// From one vector to the next.
    pitch: usize,
    targets: &'a [Target],
    clamp: (f32, f32),
}

impl<'a> Spans<'a> {
    /// # Safety
    /// The slices of `call` are as large as its shape says.
    unsafe fn of(call: &Call<'_>, block: &'a Block<'_>) -> Self {
        let [out_h, out_w] = call.out_size;
        let rows = block.rows(call.packed);
        let at = rows.start * out_h * out_w;
        // SAFETY: `at` is in the first image.
        let out = unsafe { call.out.at(at) };
        let residual = if call.residual.is_null() { call.residual } else { call.residual.wrapping_add(at) };
        let (plane, rows, clamp) = (out_h * out_w, rows.len(), call.activation.clamp());
        Self { out, residual, plane, rows, pitch: out_w, targets: &block.plan.targets, clamp }
    }

    fn below_row(self, row: usize) -> Self {
        let residual =
            if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(row * self.plane) };
        Self { out: self.out.wrapping_add(row * self.plane), residual, rows: self.rows - row, ..self }
    }

    /// # Safety
    /// Targets are inside of the output, as many vectors; as [`Lanes`].
    #[inline(always)]
    pub unsafe fn store<V: Lanes, const VECTORS: usize>(&self, mut sums: [V; VECTORS], row: usize) {
        if row >= self.rows {
            return;
        }
        let at = row * self.plane;
        // SAFETY: the caller's; lanes outside of the masks are neither read nor written.
        unsafe {
            if !self.residual.is_null() {
                let residual = self.residual.wrapping_add(at);
                for target in self.targets {
                    let from = residual.wrapping_offset(target.offset);
                    unrolled!(VECTORS, at most 8, |vector| {
                        let from = from.wrapping_add(vector * self.pitch);
                        sums[vector] = sums[vector].add(V::splat(0.0).load_where(from, target.masks[vector]));
                    });
                }
            }
            let (min, max) = (V::splat(self.clamp.0), V::splat(self.clamp.1));
            unrolled!(VECTORS, at most 8, |vector| sums[vector] = sums[vector].at_least(min).at_most(max));
            let out = self.out.wrapping_add(at);
            for target in self.targets {
                let to = out.wrapping_offset(target.offset);
                unrolled!(VECTORS, at most 8, |vector| {
                    sums[vector].store_where(to.wrapping_add(vector * self.pitch), target.masks[vector]);
                });
            }
        }
    }
}

/// # Safety
/// The sums of `block` are complete, the slices of `call` as large as its shape says; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn store<V: Lanes>(call: &Call<'_>, block: &Block<'_>) {
    // SAFETY: the caller's.
    unsafe {
        match (call.to, &block.place) {
            (Channels::First, Place::Run(pixels)) => planes::<V>(call, block, pixels),
            (Channels::First, Place::Tile(..)) => spans::<V>(call, block),
            (Channels::Last, _) => pixels::<V>(call, block),
        }
    }
}

/// # Safety
/// As [`store`].
#[inline(always)]
unsafe fn planes<V: Lanes>(call: &Call<'_>, block: &Block<'_>, pixels: &Range<usize>) {
    let rows = block.rows(call.packed);
    let (c_out, width) = (call.packed.shape().c_out, block.vectors * V::N);
    let plane = call.out_size[0] * call.out_size[1];
    let (min, max) = call.activation.clamp();
    // SAFETY: the caller's; what is written are these rows and pixels.
    unsafe {
        let (min, max) = (V::splat(min), V::splat(max));
        let mut start = pixels.start;
        while start < pixels.end {
            // Pixels of one image.
            let (image, first) = (start / plane, start % plane);
            let len = (plane - first).min(pixels.end - start);
            for row in 0..rows.len() {
                let sums = block.sums.add(row * width + start - pixels.start).cast_const();
                let at = (image * c_out + rows.start + row) * plane + first;
                let mut done = 0;
                while done < len {
                    let n = (len - done).min(V::N);
                    let mut x = load::<V>(sums.add(done), n);
                    if !call.residual.is_null() {
                        x = x.add(load::<V>(call.residual.add(at + done), n));
                    }
                    put(x.at_least(min).at_most(max), call.out.at(at + done), n);
                    done += n;
                }
                if call.activation.is_curve() {
                    call.activation.apply(std::slice::from_raw_parts_mut(call.out.at(at), len));
                }
            }
            start += len;
        }
    }
}

/// # Safety
/// As [`store`].
#[inline(always)]
unsafe fn spans<V: Lanes>(call: &Call<'_>, block: &Block<'_>) {
    let rows = block.rows(call.packed);
    let (c_out, width) = (call.packed.shape().c_out, block.vectors * V::N);
    let [out_h, out_w] = call.out_size;
    let (min, max) = call.activation.clamp();
    // SAFETY: the caller's; what is written are these rows and pixels.
    unsafe {
        let (min, max) = (V::splat(min), V::splat(max));
        for row in 0..rows.len() {
            for run in &block.plan.runs {
                let sums = block.sums.add(row * width + run.vector * V::N + run.lane).cast_const();
                let at = ((run.image * c_out + rows.start + row) * out_h + run.y) * out_w + run.x;
                let mut x = load::<V>(sums, run.len);
                if !call.residual.is_null() {
                    x = x.add(load::<V>(call.residual.add(at), run.len));
                }
                put(x.at_least(min).at_most(max), call.out.at(at), run.len);
                if call.activation.is_curve() {
                    call.activation.apply(std::slice::from_raw_parts_mut(call.out.at(at), run.len));
                }
            }
        }
    }
}

/// # Safety
/// As [`store`].
#[inline(always)]
unsafe fn pixels<V: Lanes>(call: &Call<'_>, block: &Block<'_>) {
    let rows = block.rows(call.packed);
    let (c_out, width) = (call.packed.shape().c_out, block.vectors * V::N);
    let (min, max) = call.activation.clamp();
    // SAFETY: the caller's; what is written are these rows and pixels. Sums have whole blocks of rows.
    unsafe {
        let (min, max) = (V::splat(min), V::splat(max));
        // All channels of a few pixels before the next: their lines are adjacent.
        for vector in 0..block.vectors {
            for row in (0..rows.len()).step_by(V::N) {
                let n = (rows.len() - row).min(V::N);
                let mut square = [V::splat(0.0); 16];
                for (i, square) in square[..V::N].iter_mut().enumerate() {
                    *square = V::load(block.sums.add((row + i) * width + vector * V::N));
                }
                V::transpose_square(&mut square[..V::N]);
                for (i, &x) in square[..V::N].iter().enumerate() {
                    let Some(pixel) = block.pixel(vector * V::N + i) else { continue };
                    let at = pixel * c_out + rows.start + row;
                    let mut x = x;
                    if !call.residual.is_null() {
                        x = x.add(load::<V>(call.residual.add(at), n));
                    }
                    put(x.at_least(min).at_most(max), call.out.at(at), n);
                }
            }
        }
        if call.activation.is_curve() {
            for pixel in (0..width).filter_map(|lane| block.pixel(lane)) {
                let out = call.out.at(pixel * c_out + rows.start);
                call.activation.apply(std::slice::from_raw_parts_mut(out, rows.len()));
            }
        }
    }
}

/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn load<V: Lanes>(from: *const f32, n: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if n == V::N { V::load(from) } else { V::load_first(from, n) } }
}

/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn put<V: Lanes>(x: V, to: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe { if n == V::N { x.store(to) } else { x.store_first(to, n) } }
}
