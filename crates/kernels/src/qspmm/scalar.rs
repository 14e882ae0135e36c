//! The plain version, for every CPU.

use super::blocks::BlockTile;
use super::gather::{BLOCK, GatherTile, Order};
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
        for index in 0..t.rows {
            let row = *t.order.add(index) as usize;
            let sums = std::slice::from_raw_parts_mut(t.sums.add(row * pixels), pixels);
            if !t.accumulate {
                sums.fill(0);
            }
            for block in *t.bounds.add(index)..*t.bounds.add(index + 1) {
                let quad = std::slice::from_raw_parts(
                    t.slab.add(*t.quads.add(block as usize) as usize * pixels).cast::<[u8; 4]>(),
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
/// `rows` hold 16 elements each, `to` 16 rows of 16, `to_stride` apart.
pub(super) unsafe fn transpose(rows: &[*const u8; 16], to: *mut u32, to_stride: usize) {
    for (row, from) in rows.iter().enumerate() {
        for col in 0..16 {
            // SAFETY: the caller's.
            unsafe { *to.add(col * to_stride + row) = from.add(col * 4).cast::<u32>().read_unaligned() };
        }
    }
}
