//! Rows of a softmax while training, written once for all instruction sets.

use crate::simd::rows::{load, row_sums, store};
use crate::simd::{Lanes, math};

/// Weights and soft targets of a row: `weight[j] · (kept · target[j] + spread)`, where what is null is 1 and 0.
#[derive(Clone, Copy)]
pub(super) struct Shares {
    /// One a class, or null for 1.
    pub weight: *const f32,
    /// One a class, or null for 0.
    pub target: *const f32,
    /// Factor of the target.
    pub kept: f32,
    /// What every class gets.
    pub spread: f32,
}

impl Shares {
    /// # Safety
    /// `n` elements where it is not null; as [`Lanes`].
    #[inline(always)]
    unsafe fn load<V: Lanes>(&self, i: usize, n: usize) -> V {
        // SAFETY: the caller's.
        unsafe {
            let mut share = V::splat(self.spread);
            if !self.target.is_null() {
                share = load::<V>(self.target, i, n).mul_add(V::splat(self.kept), share);
            }
            if self.weight.is_null() { share } else { share.mul(load(self.weight, i, n)) }
        }
    }
}

/// `x - ln Σ e^x` of `rows` rows of `n > 0`.
///
/// # Safety
/// `rows · n` elements at `x` and `out` (which may be the same); as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn log_softmax<V: Lanes>(x: *const f32, out: *mut f32, rows: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe {
        for row in 0..rows {
            let (x, out) = (x.add(row * n), out.add(row * n));
            // A NaN need not survive here, because its power is NaN whatever is subtracted.
            let whole = n - n % V::N;
            let mut tops = V::splat(f32::NEG_INFINITY);
            for i in (0..whole).step_by(V::N) {
                tops = V::load(x.add(i)).at_least(tops);
            }
            let mut top = tops.largest();
            for i in whole..n {
                top = if *x.add(i) > top { *x.add(i) } else { top };
            }
            let top_lanes = V::splat(top);
            let [sum] = row_sums!(V, 1, n, |i| [math::exp_of_negative(load::<V>(x, i, n).sub(top_lanes))]);
            // In two steps: the logarithm is small beside a largest element far from 0.
            let log = V::splat(f64::from(sum).ln() as f32);
            for i in (0..n).step_by(V::N) {
                store(load::<V>(x, i, n).sub(top_lanes).sub(log), out, i, n);
            }
        }
    }
}

/// `dx = y · (dy - Σ dy · y)` of rows of `n`.
///
/// # Safety
/// `rows · n` elements at `dy`, `y` and `dx` (which may be `dy`); as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn gradient<V: Lanes>(dy: *const f32, y: *const f32, dx: *mut f32, rows: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe {
        for row in 0..rows {
            let (dy, y, dx) = (dy.add(row * n), y.add(row * n), dx.add(row * n));
            let [sum] = row_sums!(V, 1, n, |i| [load::<V>(dy, i, n).mul(load(y, i, n))]);
            let sum = V::splat(sum);
            for i in (0..n).step_by(V::N) {
                store(load::<V>(dy, i, n).sub(sum).mul(load(y, i, n)), dx, i, n);
            }
        }
    }
}

/// `dx = dy - e^y · Σ dy` of rows of `n`.
///
/// # Safety
/// As [`gradient`].
#[inline(always)]
pub(super) unsafe fn log_gradient<V: Lanes>(dy: *const f32, y: *const f32, dx: *mut f32, rows: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe {
        for row in 0..rows {
            let (dy, y, dx) = (dy.add(row * n), y.add(row * n), dx.add(row * n));
            let [sum] = row_sums!(V, 1, n, |i| [load::<V>(dy, i, n)]);
            let sum = V::splat(-sum);
            for i in (0..n).step_by(V::N) {
                store(math::exp_of_negative(load::<V>(y, i, n)).mul_add(sum, load(dy, i, n)), dx, i, n);
            }
        }
    }
}

/// The sums of the shares of one row, and of their products with its log-probabilities.
///
/// # Safety
/// `n` elements at `log_p` and in `shares`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn shared<V: Lanes>(log_p: *const f32, shares: &Shares, n: usize) -> [f32; 2] {
    // SAFETY: the caller's.
    unsafe {
        row_sums!(V, 2, n, |i| {
            let share = shares.load::<V>(i, n);
            [share, share.mul(load(log_p, i, n))]
        })
    }
}

/// `dx = e^log_p · of_p - dloss · share` of one row.
///
/// # Safety
/// `n` elements at `log_p`, `dx` (which may be the same) and in `shares`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn loss_gradient<V: Lanes>(
    log_p: *const f32,
    shares: &Shares,
    [of_p, dloss]: [f32; 2],
    dx: *mut f32,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let (of_p, less) = (V::splat(of_p), V::splat(-dloss));
        for i in (0..n).step_by(V::N) {
            let p = math::exp_of_negative(load::<V>(log_p, i, n));
            store(shares.load::<V>(i, n).mul_add(less, p.mul(of_p)), dx, i, n);
        }
    }
}
