//! Sums of columns and of squares, written once for all instruction sets.

use crate::channels::Block;
use crate::simd::rows::{load, row_sums, store};
use crate::simd::{Lanes, each_vector};

/// Elements whose squares are added in f32.
const RUN: usize = 4096;

/// The sum of every column of a block.
///
/// # Safety
/// The block lies at `x`, which is its first element, and `width` elements at `out`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn columns<V: Lanes>(block: &Block, x: *const f32, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        let mut col = 0;
        while col + 4 * V::N <= block.width {
            let mut sums = [V::splat(0.0); 4];
            for row in 0..block.rows {
                let from = x.add(row * block.stride + col);
                let next = each_vector!(4, |v| V::load(from.add(v * V::N)));
                for v in 0..4 {
                    sums[v] = sums[v].add(next[v]);
                }
            }
            for (v, sum) in sums.into_iter().enumerate() {
                sum.store(out.add(col + v * V::N));
            }
            col += 4 * V::N;
        }
        while col < block.width {
            let mut sum = V::splat(0.0);
            for row in 0..block.rows {
                sum = sum.add(load(x.add(row * block.stride), col, block.width));
            }
            store(sum, out, col, block.width);
            col += V::N;
        }
    }
}

/// The sum of the squares of `n` elements.
///
/// # Safety
/// `n` elements at `x`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn squares<V: Lanes>(x: *const f32, n: usize) -> f64 {
    let mut total = 0.0;
    for start in (0..n).step_by(RUN) {
        // SAFETY: the caller's.
        let [sum] = unsafe {
            let x = x.add(start);
            row_sums!(V, 1, RUN.min(n - start), |i| {
                let value = load::<V>(x, i, n - start);
                [value.mul(value)]
            })
        };
        total += f64::from(sum);
    }
    total
}
