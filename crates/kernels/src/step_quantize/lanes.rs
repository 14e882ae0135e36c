//! Both loops, written once for all instruction sets.

use crate::simd::Lanes;
use crate::simd::rows::{load, row_sums, store};

/// What [`forward`] reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Forward {
    pub v: *const f32,
    /// One step, or `n` of them if it is a row.
    pub steps: *const f32,
    pub is_row: bool,
    pub codes: [f32; 2],
    pub out: *mut f32,
    pub n: usize,
}

/// What [`backward`] reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Backward {
    pub dy: *const f32,
    pub v: *const f32,
    /// One step, or `n` of them if it is a row.
    pub steps: *const f32,
    pub is_row: bool,
    pub codes: [f32; 2],
    pub dv: *mut f32,
    /// As many as steps; added to.
    pub sums: *mut f32,
    pub n: usize,
}

/// # Safety
/// `n` elements at `v` and `out`, as many steps as it says; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn forward<V: Lanes>(at: Forward) {
    // SAFETY: the caller's.
    unsafe {
        let (min, max) = (V::splat(at.codes[0]), V::splat(at.codes[1]));
        let one = if at.n > 0 { V::splat(*at.steps) } else { V::splat(1.0) };
        for i in (0..at.n).step_by(V::N) {
            let step = if at.is_row { load::<V>(at.steps, i, at.n) } else { one };
            let code = load::<V>(at.v, i, at.n).div(step).round().at_least(min).at_most(max);
            store(code.mul(step), at.out, i, at.n);
        }
    }
}

/// The gradient of `v`, and what the step gets.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn parts<V: Lanes>(dy: V, v: V, step: V, min: V, max: V) -> (V, V) {
    // SAFETY: the caller's.
    unsafe {
        let (t, zero) = (v.div(step), V::splat(0.0));
        let rounded = t.round();
        let code = rounded.at_least(min).at_most(max);
        let inside = rounded.sub(t);
        let slope = t.if_less(max, min.if_less(t, inside, code), code);
        (t.if_less(max, min.if_less(t, dy, zero), zero), dy.mul(slope))
    }
}

/// # Safety
/// `n` elements at `dy`, `v` and `dv`, as many steps and sums as it says; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn backward<V: Lanes>(at: Backward) {
    // SAFETY: the caller's.
    unsafe {
        let (min, max) = (V::splat(at.codes[0]), V::splat(at.codes[1]));
        if at.n == 0 {
            return;
        }
        if at.is_row {
            for i in (0..at.n).step_by(V::N) {
                let (dy, v) = (load::<V>(at.dy, i, at.n), load::<V>(at.v, i, at.n));
                let (dv, own) = parts(dy, v, load::<V>(at.steps, i, at.n), min, max);
                store(dv, at.dv, i, at.n);
                store(load::<V>(at.sums, i, at.n).add(own), at.sums, i, at.n);
            }
            return;
        }
        let step = V::splat(*at.steps);
        let [sum] = row_sums!(V, 1, at.n, |i| {
            let (dv, own) = parts(load::<V>(at.dy, i, at.n), load::<V>(at.v, i, at.n), step, min, max);
            store(dv, at.dv, i, at.n);
            [own]
        });
        *at.sums += sum;
    }
}
