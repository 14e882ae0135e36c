//! The loops over rows, written once for all instruction sets.

use super::{LayerNorm, Reduction};
use crate::simd::{Lanes, math};

/// Folds `n` elements into one vector, then one number; lanes are combined in a fixed order.
///
/// # Safety
/// `n` elements at `x`; as [`Lanes`].
#[inline(always)]
unsafe fn sum_of<V: Lanes>(x: *const f32, n: usize, f: impl Fn(V) -> V) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        // Four sums, so that additions do not wait for each other.
        let mut sums = [V::splat(0.0); 4];
        let whole = n - n % V::N;
        let mut at = 0;
        while at + 4 * V::N <= whole {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(f(V::load(x.add(at + i * V::N))));
            }
            at += 4 * V::N;
        }
        while at < whole {
            sums[0] = sums[0].add(f(V::load(x.add(at))));
            at += V::N;
        }
        let mut total = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
        for i in whole..n {
            let mut lane = [0.0; 16];
            f(V::splat(*x.add(i))).store_first(lane.as_mut_ptr(), 1);
            total += lane[0];
        }
        total
    }
}

/// # Safety
/// `n > 0` elements at `x`; as [`Lanes`].
#[inline(always)]
unsafe fn largest<V: Lanes>(x: *const f32, n: usize) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let whole = n - n % V::N;
        let mut largest = V::splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(V::N) {
            largest = math::larger(largest, V::load(x.add(i)));
        }
        let mut lanes = [f32::NEG_INFINITY; 16];
        largest.store(lanes.as_mut_ptr());
        let mut result = f32::NEG_INFINITY;
        let tail = std::slice::from_raw_parts(x.add(whole), n - whole);
        for &x in lanes[..V::N].iter().chain(tail) {
            result = if x > result || x.is_nan() { x } else { result };
            if x.is_nan() {
                break;
            }
        }
        result
    }
}

/// The vector at `i` of `n` floats, zeros after them. A mask that is computed costs more than the choice.
///
/// # Safety
/// As [`Lanes`]; `i < n`.
#[inline(always)]
unsafe fn load<V: Lanes>(from: *const f32, i: usize, n: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if i + V::N <= n { V::load(from.add(i)) } else { V::load_first(from.add(i), n - i) } }
}

/// The opposite of [`load`].
///
/// # Safety
/// As [`load`].
#[inline(always)]
unsafe fn store<V: Lanes>(x: V, to: *mut f32, i: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe { if i + V::N <= n { x.store(to.add(i)) } else { x.store_first(to.add(i), n - i) } }
}

/// Softmax of `rows` rows of `n`; row `r` is first added to row `r / rows_a_mask` of `mask`, unless that is null.
///
/// # Safety
/// `rows · n` elements at `x` and `out` (which may be the same), enough rows of `mask`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn softmax<V: Lanes>(
    x: *const f32,
    mask: *const f32,
    first_row: usize,
    rows_a_mask: usize,
    out: *mut f32,
    rows: usize,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let whole = n - n % V::N;
        for row in 0..rows {
            let (mut x, out) = (x.add(row * n), out.add(row * n));
            if !mask.is_null() {
                let mask = mask.add((first_row + row) / rows_a_mask * n);
                for i in (0..n).step_by(V::N) {
                    store(load::<V>(x, i, n).add(load(mask, i, n)), out, i, n);
                }
                x = out;
            }
            // A NaN need not survive here, because its power is NaN whatever is subtracted.
            let mut tops = V::splat(f32::NEG_INFINITY);
            for i in (0..whole).step_by(V::N) {
                tops = V::load(x.add(i)).at_least(tops);
            }
            let mut top = tops.largest();
            for i in whole..n {
                top = if *x.add(i) > top { *x.add(i) } else { top };
            }
            let top = V::splat(top);
            let mut sums = V::splat(0.0);
            for i in (0..whole).step_by(V::N) {
                let power = math::exp_of_negative(V::load(x.add(i)).sub(top));
                power.store(out.add(i));
                sums = sums.add(power);
            }
            if whole < n {
                let power = math::exp_of_negative(V::load_first(x.add(whole), n - whole).sub(top));
                power.store_first(out.add(whole), n - whole);
                sums = sums.add(V::load_first(out.add(whole), n - whole));
            }
            let scale = V::splat(1.0 / sums.sum());
            for i in (0..n).step_by(V::N) {
                store(load::<V>(out, i, n).mul(scale), out, i, n);
            }
        }
    }
}

/// # Safety
/// `rows · n` elements at `x` and `out` (which may be the same) and, if it is there, the residual; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn layer_norm<V: Lanes>(
    x: *const f32,
    residual: *const f32,
    norm: &LayerNorm<'_>,
    out: *mut f32,
    rows: usize,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        for row in 0..rows {
            let (mut x, out) = (x.add(row * n), out.add(row * n));
            if !residual.is_null() {
                let residual = residual.add(row * n);
                for i in (0..n).step_by(V::N) {
                    store(load::<V>(x, i, n).add(load(residual, i, n)), out, i, n);
                }
                x = out;
            }
            let mean = sum_of::<V>(x, n, |x| x) / n as f32;
            let mean_lanes = V::splat(mean);
            let variance = sum_of::<V>(x, n, |x| {
                let distance = x.sub(mean_lanes);
                distance.mul(distance)
            }) / n as f32;
            let scale = V::splat(1.0 / (variance + norm.epsilon).sqrt());
            for i in (0..n).step_by(V::N) {
                let mut y = load::<V>(x, i, n).sub(mean_lanes).mul(scale);
                if let Some(gamma) = norm.scale {
                    y = y.mul(load(gamma.as_ptr(), i, n));
                }
                if let Some(beta) = norm.bias {
                    y = y.add(load(beta.as_ptr(), i, n));
                }
                store(y, out, i, n);
            }
        }
    }
}

/// One number for `n` adjacent elements.
///
/// # Safety
/// `n > 0` elements at `x`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn reduce_row<V: Lanes>(op: Reduction, x: *const f32, n: usize) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        match op {
            Reduction::Sum => sum_of::<V>(x, n, |x| x),
            Reduction::Mean => sum_of::<V>(x, n, |x| x) / n as f32,
            Reduction::Max => largest::<V>(x, n),
            Reduction::Min => {
                let mut smallest = *x;
                for i in 1..n {
                    let x = *x.add(i);
                    smallest = if x < smallest || x.is_nan() { x } else { smallest };
                    if smallest.is_nan() {
                        break;
                    }
                }
                smallest
            }
        }
    }
}

/// `width` columns of `n` rows, `stride` apart, each into one number.
///
/// # Safety
/// `width` elements at each row of `x` and at `out`, `n > 0`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn reduce_columns<V: Lanes>(
    op: Reduction,
    x: *const f32,
    n: usize,
    stride: usize,
    out: *mut f32,
    width: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        for col in (0..width).step_by(V::N) {
            let len = (width - col).min(V::N);
            let mut result = V::load_first(x.add(col), len);
            for row in 1..n {
                let next = V::load_first(x.add(row * stride + col), len);
                result = match op {
                    Reduction::Sum | Reduction::Mean => result.add(next),
                    Reduction::Max => math::larger(result, next),
                    Reduction::Min => math::smaller(result, next),
                };
            }
            if op == Reduction::Mean {
                result = result.mul(V::splat(1.0 / n as f32));
            }
            result.store_first(out.add(col), len);
        }
    }
}
