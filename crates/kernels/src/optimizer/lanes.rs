//! Updates of weights, written once for all instruction sets.

use super::{Adamw, Sgd};
use crate::simd::Lanes;
use crate::simd::rows::{load, store};

/// What [`sgd`] reads and writes, `n` elements each.
#[derive(Clone, Copy)]
pub(super) struct SgdStep {
    pub w: *const f32,
    pub g: *const f32,
    /// Null without momentum.
    pub velocity: *const f32,
    /// What the new weight is multiplied by, or null.
    pub mask: *const f32,
    /// Null where it is not asked for, each.
    pub new_velocity: *mut f32,
    pub new_w: *mut f32,
    pub n: usize,
}

/// What [`adamw`] reads and writes, `n` elements each.
#[derive(Clone, Copy)]
pub(super) struct AdamwStep {
    pub w: *const f32,
    pub g: *const f32,
    /// First and second moment.
    pub moments: [*const f32; 2],
    pub new_moments: [*mut f32; 2],
    pub new_w: *mut f32,
    pub n: usize,
}

/// # Safety
/// `n` elements at every pointer that is not null; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn sgd<V: Lanes>(by: &Sgd, at: SgdStep) {
    // SAFETY: the caller's.
    unsafe {
        if at.velocity.is_null() {
            sgd_step::<V, false, false>(by, at);
        } else if by.is_nesterov {
            sgd_step::<V, true, true>(by, at);
        } else {
            sgd_step::<V, true, false>(by, at);
        }
    }
}

/// # Safety
/// As [`sgd`].
#[inline(always)]
unsafe fn sgd_step<V: Lanes, const MOMENTUM: bool, const NESTEROV: bool>(by: &Sgd, at: SgdStep) {
    // SAFETY: the caller's.
    unsafe {
        let (decay, scale) = (V::splat(by.weight_decay), V::splat(by.gradient_scale));
        let (momentum, rate) = (V::splat(by.momentum), V::splat(-by.learning_rate));
        for i in (0..at.n).step_by(V::N) {
            let w = load::<V>(at.w, i, at.n);
            let g = w.mul_add(decay, load::<V>(at.g, i, at.n).mul(scale));
            let mut step = g;
            if MOMENTUM {
                let velocity = load::<V>(at.velocity, i, at.n).mul_add(momentum, g);
                if !at.new_velocity.is_null() {
                    store(velocity, at.new_velocity, i, at.n);
                }
                step = if NESTEROV { velocity.mul_add(momentum, g) } else { velocity };
            }
            if at.new_w.is_null() {
                continue;
            }
            let mut w = step.mul_add(rate, w);
            if !at.mask.is_null() {
                w = w.mul(load::<V>(at.mask, i, at.n));
            }
            store(w, at.new_w, i, at.n);
        }
    }
}

/// # Safety
/// `n` elements at every pointer; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn adamw<V: Lanes>(by: &Adamw, at: AdamwStep) {
    // SAFETY: the caller's.
    unsafe {
        let [correction, correction_of_squares] = by.corrections();
        // `m / c1 / (√(v / c2) + ε)`, with what does not depend on the element taken out.
        let (rate, root) = (
            V::splat((-f64::from(by.learning_rate) / correction) as f32),
            V::splat((1.0 / correction_of_squares.sqrt()) as f32),
        );
        let (beta1, beta2) = (V::splat(by.beta1), V::splat(by.beta2));
        let (rest1, rest2) = (V::splat(1.0 - by.beta1), V::splat(1.0 - by.beta2));
        let (scale, epsilon) = (V::splat(by.gradient_scale), V::splat(by.epsilon));
        let kept = V::splat((1.0 - f64::from(by.learning_rate) * f64::from(by.weight_decay)) as f32);
        for i in (0..at.n).step_by(V::N) {
            let g = load::<V>(at.g, i, at.n).mul(scale);
            let first = load::<V>(at.moments[0], i, at.n).mul_add(beta1, g.mul(rest1));
            let second = load::<V>(at.moments[1], i, at.n).mul_add(beta2, g.mul(g).mul(rest2));
            store(first, at.new_moments[0], i, at.n);
            store(second, at.new_moments[1], i, at.n);
            let share = first.div(second.sqrt().mul_add(root, epsilon));
            let w = load::<V>(at.w, i, at.n).mul(kept);
            store(share.mul_add(rate, w), at.new_w, i, at.n);
        }
    }
}
