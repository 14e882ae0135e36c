//! A tile of rows against a panel of outputs, written once for all instruction sets.

use super::{CHUNK, GROUP, MAX_ROWS};
use crate::simd::quads::Quads;
use crate::simd::{rows, unrolled};

/// Vectors of a panel.
const VECTORS: usize = 2;

/// Some rows and one panel.
pub(super) struct Tile {
    /// Whole groups of inputs each.
    pub rows: [*const f32; MAX_ROWS],
    pub groups: usize,
    pub passes: usize,
    /// Of the panel, see `Packed24`.
    pub data: *const u32,
    /// First of the panel, or null.
    pub bias: *const f32,
    /// As `out`, or null.
    pub residual: *const f32,
    pub clamp: (f32, f32),
    /// First row and output; rows are `stride` apart.
    pub out: *mut f32,
    pub stride: usize,
    /// Outputs of the panel that are there.
    pub n_cols: usize,
}

/// # Safety
/// The pointers are as `tile` says for `ROWS` rows; as [`Lanes`](crate::simd::Lanes).
#[inline(always)]
pub(super) unsafe fn tile<V: Quads, const ROWS: usize>(tile: &Tile) {
    // SAFETY: the caller's.
    unsafe {
        // Two sums where there are few rows, so that products do not wait for each other.
        let mut sums = [[[V::splat(0.0); 2]; VECTORS]; ROWS];
        let mut data = tile.data;
        for _ in 0..tile.passes {
            let mut input = 0;
            for chunk in (0..tile.groups).step_by(CHUNK) {
                let mut choices = [V::load_choices(data); VECTORS];
                choices[1] = V::load_choices(data.add(V::N));
                data = data.add(VECTORS * V::N);
                for _ in chunk..tile.groups.min(chunk + CHUNK) {
                    let mut x = [V::splat(0.0); ROWS];
                    unrolled!(ROWS, at most 8, |row| x[row] = V::splat_quad(tile.rows[row].add(input)));
                    unrolled!(2, at most 4, |slot| {
                        unrolled!(VECTORS, at most 4, |vector| {
                            let weight = V::load(data.add(vector * V::N).cast());
                            unrolled!(ROWS, at most 8, |row| {
                                let to = if ROWS > 4 { 0 } else { slot };
                                let x = x[row].choose(choices[vector]);
                                sums[row][vector][to] = weight.mul_add(x, sums[row][vector][to]);
                            });
                            choices[vector] = V::next(choices[vector]);
                        });
                        data = data.add(VECTORS * V::N);
                    });
                    input += GROUP;
                }
            }
        }
        let (min, max) = (V::splat(tile.clamp.0), V::splat(tile.clamp.1));
        unrolled!(ROWS, at most 8, |row| {
            unrolled!(VECTORS, at most 4, |vector| if vector * V::N < tile.n_cols {
                let (at, col) = (row * tile.stride, vector * V::N);
                let mut y = sums[row][vector][0];
                if ROWS <= 4 {
                    y = y.add(sums[row][vector][1]);
                }
                if !tile.bias.is_null() {
                    y = y.add(rows::load(tile.bias, col, tile.n_cols));
                }
                if !tile.residual.is_null() {
                    y = y.add(rows::load(tile.residual.add(at), col, tile.n_cols));
                }
                rows::store(y.at_least(min).at_most(max), tile.out.add(at), col, tile.n_cols);
            });
        });
    }
}
