//! Layer norm of rows and its gradient, written once for all instruction sets.

use crate::simd::Lanes;
use crate::simd::rows::{load, row_sums, store};

/// What `normalize` reads and writes: rows of `n`, one mean and deviation a row.
#[derive(Clone, Copy)]
pub(super) struct Forward {
    pub x: *const f32,
    /// Null for 1.
    pub scale: *const f32,
    /// Null for 0.
    pub bias: *const f32,
    pub epsilon: f32,
    pub is_centered: bool,
    pub mean: *mut f32,
    pub inv_std: *mut f32,
    pub out: *mut f32,
    pub rows: usize,
    pub n: usize,
}

/// What `gradient` reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Backward {
    pub dy: *const f32,
    pub x: *const f32,
    /// Null for 1.
    pub scale: *const f32,
    pub mean: *const f32,
    pub inv_std: *const f32,
    pub is_centered: bool,
    pub dx: *mut f32,
    /// Sums over the rows, `n` each, to which those of these rows are added.
    pub dscale: *mut f32,
    pub dbias: *mut f32,
    pub rows: usize,
    pub n: usize,
}

/// # Safety
/// `rows · n` elements at `x` and `out`, `n` at `scale` and `bias` unless they are null, `rows` at `mean` and `inv_std`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn normalize<V: Lanes>(of: &Forward) {
    // SAFETY: the caller's.
    unsafe {
        let n = of.n;
        for row in 0..of.rows {
            let (x, out) = (of.x.add(row * n), of.out.add(row * n));
            let mut mean = 0.0;
            if of.is_centered {
                let [sum] = row_sums!(V, 1, n, |i| [load::<V>(x, i, n)]);
                mean = sum / n as f32;
            }
            let mean_lanes = V::splat(mean);
            let [squares] = row_sums!(V, 1, n, |i| {
                let distance = load::<V>(x, i, n).sub(mean_lanes);
                [distance.mul(distance)]
            });
            let inv_std = 1.0 / (squares / n as f32 + of.epsilon).sqrt();
            let scale = V::splat(inv_std);
            for i in (0..n).step_by(V::N) {
                let mut y = load::<V>(x, i, n).sub(mean_lanes).mul(scale);
                if !of.scale.is_null() {
                    y = y.mul(load(of.scale, i, n));
                }
                if !of.bias.is_null() {
                    y = y.add(load(of.bias, i, n));
                }
                store(y, out, i, n);
            }
            *of.mean.add(row) = mean;
            *of.inv_std.add(row) = inv_std;
        }
    }
}

/// # Safety
/// `rows · n` elements at `dy`, `x` and `dx` (which may be `dy`), `n` at `dscale`, `dbias` and, unless it is null, at `scale`, `rows`
/// at `mean` and `inv_std`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn gradient<V: Lanes>(of: &Backward) {
    // SAFETY: the caller's.
    unsafe {
        let n = of.n;
        for row in 0..of.rows {
            let (dy, x, dx) = (of.dy.add(row * n), of.x.add(row * n), of.dx.add(row * n));
            let (mean, inv_std) = (V::splat(*of.mean.add(row)), V::splat(*of.inv_std.add(row)));
            let [sum, product] = row_sums!(V, 2, n, |i| {
                let mut g = load::<V>(dy, i, n);
                let hat = load::<V>(x, i, n).sub(mean).mul(inv_std);
                store(load::<V>(of.dbias, i, n).add(g), of.dbias, i, n);
                store(g.mul_add(hat, load::<V>(of.dscale, i, n)), of.dscale, i, n);
                if !of.scale.is_null() {
                    g = g.mul(load(of.scale, i, n));
                }
                [g, g.mul(hat)]
            });
            let mean_sum = V::splat(if of.is_centered { sum / n as f32 } else { 0.0 });
            let mean_product = V::splat(-product / n as f32);
            for i in (0..n).step_by(V::N) {
                let mut g = load::<V>(dy, i, n);
                let hat = load::<V>(x, i, n).sub(mean).mul(inv_std);
                if !of.scale.is_null() {
                    g = g.mul(load(of.scale, i, n));
                }
                store(hat.mul_add(mean_product, g.sub(mean_sum)).mul(inv_std), dx, i, n);
            }
        }
    }
}
