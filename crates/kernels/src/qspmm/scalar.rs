//! The plain version, for every CPU.

use super::blocks::BlockTile;
use super::blocks4x1::{LINE, ROWS, Tile4x1};
use super::gather::{BLOCK, GatherTile, Order};
use super::two_of_four::{CHUNK, SETS, STEP, Tile24};
use crate::qgemm::finish::{self, Finish};

/// Outputs of a vector of the gather form here.
const LANES: usize = 8;

/// # Safety
/// The pointers are as `GatherTile` says for this many pixels and sets of 8 outputs.
pub(super) unsafe fn gather(pixels: usize, sets: usize, t: &GatherTile) {
    let lanes = sets * LANES;
    // SAFETY: the caller's.
    unsafe {
        for pixel in 0..pixels {
            let sums = std::slice::from_raw_parts_mut(t.sums.add(pixel * BLOCK), lanes);
            sums.fill(0);
            let (mut starts, mut round) = (t.starts, t.rounds);
            for run in 0..t.n_runs {
                let x = (*t.pixels.add(pixel)).add(*t.run_offsets.add(run));
                for _ in 0..*t.run_rounds.add(run) {
                    let x = x.add(*starts as usize);
                    let indices = std::slice::from_raw_parts(round, lanes * 4);
                    let weights = std::slice::from_raw_parts(round.add(lanes * 4).cast::<i8>(), lanes * 4);
                    for (slot, (&index, &weight)) in indices.iter().zip(weights).enumerate() {
                        if weight != 0 {
                            let product = i32::from(*x.add(index.into())) * i32::from(weight);
                            sums[slot / 4] = sums[slot / 4].wrapping_add(product);
                        }
                    }
                    starts = starts.add(1);
                    round = round.add(lanes * 8);
                }
            }
        }
    }
}

/// # Safety
/// The pointers are as `Tile24` says for this many pixels and sets of 8 outputs.
pub(super) unsafe fn two_of_four(pixels: usize, t: &Tile24) {
    const WIDTH: usize = SETS * LANES;
    // SAFETY: the caller's.
    unsafe {
        for pixel in 0..pixels {
            let sums = &mut *t.sums.add(pixel * BLOCK).cast::<[i32; WIDTH]>();
            sums.fill(0);
            let mut data = t.data;
            for run in 0..t.passes * t.n_runs {
                let x = (*t.pixels.add(pixel)).add(*t.run_offsets.add(run % t.n_runs));
                let mut choices = &[0u32; WIDTH];
                for step in 0..t.steps {
                    if step % CHUNK == 0 {
                        choices = &*data.cast::<[u32; WIDTH]>();
                        data = data.add(WIDTH * 4);
                    }
                    let weights = &*data.cast::<[[i8; 4]; WIDTH]>();
                    data = data.add(WIDTH * 4);
                    let x = x.add(step * STEP);
                    for (sum, (&choices, weights)) in sums.iter_mut().zip(choices.iter().zip(weights)) {
                        for (slot, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0) {
                            let choice = (choices >> (8 * (step % CHUNK) + 2 * slot) & 3) as usize;
                            let product = i32::from(*x.add(slot / 2 * 4 + choice)) * i32::from(weight);
                            *sum = sum.wrapping_add(product);
                        }
                    }
                }
            }
        }
    }
}

/// Puts the sums of some pixels in order, if they are not, and finishes them.
///
/// # Safety
/// `sums` holds `BLOCK` for each pixel; as `finish::finish` for `n_cols` of them.
pub(super) unsafe fn finish_block(f: &Finish, sums: *mut i32, pixels: usize, n_cols: usize, order: Option<&Order>) {
    // SAFETY: the caller's.
    unsafe {
        if let Some(order) = order {
            reorder(sums, pixels, order);
        }
        finish::finish::<f32>(f, sums, BLOCK, pixels, n_cols);
    }
}

/// # Safety
/// `sums` holds `BLOCK` for each pixel.
pub(super) unsafe fn reorder(sums: *mut i32, pixels: usize, order: &Order) {
    for pixel in 0..pixels {
        // SAFETY: the caller's.
        let sums = unsafe { std::slice::from_raw_parts_mut(sums.add(pixel * BLOCK), BLOCK) };
        let ordered: [i32; BLOCK] = std::array::from_fn(|output| sums[usize::from(order.places[output])]);
        sums.copy_from_slice(&ordered);
    }
}

/// # Safety
/// The pointers are as `BlockTile` says for `vectors · 16` pixels.
pub(super) unsafe fn blocks(vectors: usize, t: &BlockTile) {
    let pixels = vectors * 16;
    // SAFETY: the caller's.
    unsafe {
        for index in 0..t.to.rows {
            let row = *t.order.add(index) as usize;
            let sums = std::slice::from_raw_parts_mut(t.to.sums.add(row * pixels), pixels);
            if !t.to.accumulate {
                sums.fill(0);
            }
            for block in *t.bounds.add(index)..*t.bounds.add(index + 1) {
                let quad = std::slice::from_raw_parts(
                    t.to.slab.add(*t.quads.add(block as usize) as usize * pixels).cast::<[u8; 4]>(),
                    pixels,
                );
                let weight = *t.weights.add(block as usize);
                for (sum, x) in sums.iter_mut().zip(quad) {
                    let products = x.iter().zip(weight).map(|(&x, weight)| i32::from(x) * i32::from(weight));
                    *sum = sum.wrapping_add(products.sum());
                }
            }
        }
    }
}

/// # Safety
/// The pointers are as `Tile4x1` says for `vectors · 16` pixels.
pub(super) unsafe fn blocks_4x1(vectors: usize, t: &Tile4x1) {
    let pixels = vectors * 16;
    // SAFETY: the caller's.
    unsafe {
        let slab = t.to.slab.cast::<u8>();
        for index in 0..t.groups {
            let first = usize::from(*t.order.add(index));
            let sums = std::slice::from_raw_parts_mut(t.to.sums.add(first * pixels), ROWS * pixels);
            if !t.to.accumulate {
                sums.fill(0);
            }
            for at in *t.bounds.add(index)..*t.bounds.add(index + 1) {
                let step = &*t.steps.add(at as usize);
                for (input, &begin) in step.inputs.iter().enumerate() {
                    let x = std::slice::from_raw_parts(slab.add(begin.into()), pixels);
                    for (sums, weights) in sums.chunks_exact_mut(pixels).zip(&step.weights) {
                        let weight = i32::from(weights[input]);
                        let products = x.iter().map(|&x| i32::from(x) * weight);
                        sums.iter_mut().zip(products).for_each(|(sum, product)| *sum = sum.wrapping_add(product));
                    }
                }
            }
        }
    }
}

/// Leaves the pixels in their order.
///
/// # Safety
/// `from` is `[groups][64]` elements of four bytes, `to` `[4 · groups][64]` bytes.
pub(super) unsafe fn take_apart(from: *const u32, to: *mut u8, groups: usize) {
    for at in 0..groups * 4 * LINE {
        let (group, input, pixel) = (at / LINE / 4, at / LINE % 4, at % LINE);
        // SAFETY: the caller's.
        unsafe { *to.add(at) = from.cast::<u8>().add((group * LINE + pixel) * 4 + input).read() };
    }
}

/// # Safety
/// `rows` hold 16 elements each, `to` 16 rows of 16, `to_stride` apart.
pub(super) unsafe fn transpose(rows: &[*const u8; 16], to: *mut u32, to_stride: usize) {
    for (row, from) in rows.iter().enumerate() {
        for col in 0..16 {
            // SAFETY: the caller's.
            unsafe { *to.add(col * to_stride + row) = from.add(col * 4).cast::<u32>().read_unaligned() };
        }
    }
}
