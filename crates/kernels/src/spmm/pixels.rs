//! The slab from pixels whose channels are adjacent: squares of pixels and channels are transposed.

use super::driver::{Block, Call};
use super::gather::{Run, geometry, inside, offsets};
use super::packed::Column;
use crate::conv::Window;
use crate::simd::Lanes;
use std::ops::Range;

/// Zeros to read outside of images.
static ZEROS: [f32; 16] = [0.0; 16];

/// # Safety
/// As [`gather::fill`](super::gather::fill).
#[inline(always)]
pub(super) unsafe fn fill<V: Lanes>(call: &Call<'_>, block: &mut Block<'_>, columns: Range<usize>) {
    let c_in = call.packed.shape().c_in;
    let width = block.vectors * V::N;
    let (window, size, _) = geometry(call);
    let mut to = block.slab;
    for of_tap in call.packed.columns[columns].chunk_by(|a, b| a.tap == b.tap && a.channel < b.channel) {
        let by = offsets(&window, of_tap[0].tap);
        let mut runs = &block.plan.runs[..];
        for vector in 0..block.vectors {
            let of_vector = runs.partition_point(|run| run.vector == vector);
            let from = Pixels::find(call.input.as_ptr(), c_in, &runs[..of_vector], &window, size, by);
            runs = &runs[of_vector..];
            // SAFETY: the pixels are outside or inside of the input, the slab has room for these columns.
            unsafe { from.transpose::<V>(c_in, of_tap, to.add(vector * V::N), width) };
        }
        to = to.wrapping_add(of_tap.len() * width);
    }
}

/// The channels of a vector of pixels.
pub(super) struct Pixels {
    /// Where `is_inside` says so.
    from: [*const f32; 16],
    is_inside: u32,
}

impl Pixels {
    #[inline(always)]
    pub fn find(
        input: *const f32,
        c_in: usize,
        runs: &[Run],
        window: &Window,
        [h, w]: [usize; 2],
        (dy, dx): (isize, isize),
    ) -> Self {
        let mut pixels = Self { from: [ZEROS.as_ptr(); 16], is_inside: 0 };
        let step = window.stride[1] as isize;
        for run in runs {
            let y = (run.y * window.stride[0]) as isize + dy;
            let x = (run.x * window.stride[1]) as isize + dx;
            let inside = inside(x, step, run.len, w);
            if y < 0 || y >= h as isize || inside.is_empty() {
                continue;
            }
            pixels.is_inside |= (((1u64 << inside.end) - (1u64 << inside.start)) << run.lane) as u32;
            let pixel = ((run.image * h) as isize + y) * w as isize + x + inside.start as isize * step;
            let mut from = input.wrapping_offset(pixel * c_in as isize);
            for to in &mut pixels.from[run.lane..][inside] {
                *to = from;
                from = from.wrapping_offset(step * c_in as isize);
            }
        }
        pixels
    }

    /// Writes channels `columns` to lines `width` apart.
    ///
    /// # Safety
    /// Pixels inside have `c_in` channels; `to` has room for all columns; as [`Lanes`].
    #[inline(always)]
    pub unsafe fn transpose<V: Lanes>(&self, c_in: usize, columns: &[Column], to: *mut f32, width: usize) {
        let are_inside = self.is_inside == ((1u64 << V::N) - 1) as u32;
        let mut at = 0;
        while at < columns.len() {
            let first = columns[at].channel as usize;
            let room = (c_in - first).min(V::N);
            let are_all = columns.get(at + V::N - 1).is_some_and(|last| last.channel as usize == first + V::N - 1);
            // SAFETY: the caller's; at most `room` channels are read.
            unsafe {
                let mut square = [V::splat(0.0); 16];
                if are_inside && room == V::N {
                    for (square, &from) in square[..V::N].iter_mut().zip(&self.from) {
                        *square = V::load(from.wrapping_add(first));
                    }
                } else {
                    for (i, square) in square[..V::N].iter_mut().enumerate() {
                        let from = self.from[i].wrapping_add(if self.is_inside >> i & 1 != 0 { first } else { 0 });
                        *square = V::load_first(from, room);
                    }
                }
                V::transpose_square(&mut square[..V::N]);
                if are_all {
                    for (i, line) in square[..V::N].iter().enumerate() {
                        line.store(to.add((at + i) * width));
                    }
                    at += V::N;
                } else {
                    while at < columns.len() && columns[at].channel as usize - first < V::N {
                        square[columns[at].channel as usize - first].store(to.add(at * width));
                        at += 1;
                    }
                }
            }
        }
    }
}
