//! From the sums of a block to the output: residual, clamp, curve, and the layout of the channels.

use super::driver::{Block, Call};
use crate::conv::Channels;
use crate::simd::Lanes;

/// # Safety
/// The sums of `block` are complete, the slices of `call` as large as its shape says; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn store<V: Lanes>(call: &Call<'_>, block: &Block<'_>) {
    // SAFETY: the caller's.
    unsafe {
        match call.to {
            Channels::First => planes::<V>(call, block),
            Channels::Last => pixels::<V>(call, block),
        }
    }
}

/// # Safety
/// As [`store`].
#[inline(always)]
unsafe fn planes<V: Lanes>(call: &Call<'_>, block: &Block<'_>) {
    let rows = block.rows(call.packed);
    let (c_out, width) = (call.packed.shape().c_out, block.vectors * V::N);
    let plane = call.out_size[0] * call.out_size[1];
    let (min, max) = call.activation.clamp();
    // SAFETY: the caller's; what is written are these rows and pixels.
    unsafe {
        let (min, max) = (V::splat(min), V::splat(max));
        let mut start = block.pixels.start;
        while start < block.pixels.end {
            // Pixels of one image.
            let (image, first) = (start / plane, start % plane);
            let len = (plane - first).min(block.pixels.end - start);
            for row in 0..rows.len() {
                let sums = block.sums.add(row * width + start - block.pixels.start).cast_const();
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
                V::transpose(&mut square[..V::N]);
                let pixel = block.pixels.start + vector * V::N;
                let n_pixels = (block.pixels.end - pixel).min(V::N);
                for (i, &x) in square[..V::N].iter().enumerate() {
                    if i < n_pixels {
                        let at = (pixel + i) * c_out + rows.start + row;
                        let mut x = x;
                        if !call.residual.is_null() {
                            x = x.add(load::<V>(call.residual.add(at), n));
                        }
                        put(x.at_least(min).at_most(max), call.out.at(at), n);
                    }
                }
            }
        }
        if call.activation.is_curve() {
            for pixel in block.pixels.clone() {
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
